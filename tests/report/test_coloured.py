"""Texts coloured by influence: every token is there, with its number, in pages and in notebooks."""

import re
from html import unescape

import numpy as np
import pandas as pd
import pytest

from untrac_exp import plot
from untrac_exp.report import result_files as files
from untrac_exp.report.collect import collect
from untrac_exp.report.coloured import coloured_texts
from untrac_exp.report.page import render
from untrac_exp.statistics.tokens import TOKENS

TEXTS = {
    ("books", 3): [("The", np.nan), (" red", 0.4), (" <b>", -0.2), ("\nlantern", 0.0), (".", 1e-9)],
    ("books", 7): [("A", np.nan), (" ship", 0.1)],
    ("news", 7): [("A", np.nan), (" ship", -0.3)],
}


def table(testset="toxicity"):
    rows = [
        (testset, corpus, "group 0", index, 0.1 * index, position, token, influence)
        for (corpus, index), tokens in TEXTS.items()
        for position, (token, influence) in enumerate(tokens)
    ]
    return pd.DataFrame(rows, columns=TOKENS)


def shown(html):
    """The texts as a reader sees them."""
    return [
        unescape(re.sub("<[^>]*>", "", text))
        for text in re.findall(r'<p class="text">(.*?)</p>', html, re.DOTALL)
    ]


def test_a_text_is_whole_and_its_tokens_have_colours_and_numbers():
    rows = table()
    html = coloured_texts(rows[rows["corpus"] == "books"])
    assert shown(html) == ["The red <b>\nlantern.", "A ship"]
    assert '<span class="helps" style="--shade:60%" title="+0.4"> red</span>' in html
    assert '<span class="hurts" style="--shade:30%" title="−0.2"> &lt;b&gt;</span>' in html
    assert "text 3: +0.300 nats per token; <q>red</q> +0.4, <q>&lt;b&gt;</q> −0.2" in html


def test_a_notebook_shows_what_the_page_shows(sweep_dir):
    rows = table()
    scores = pd.DataFrame({"testset": ["toxicity"], "corpus": ["news"]})
    scores.attrs["tokens"] = rows
    html = plot.tokens(scores, "news")._repr_html_()
    assert html == plot.tokens(rows, "news", "toxicity")
    assert shown(html) == ["A ship"]
    assert "<style>" in html
    with pytest.raises(ValueError, match="corpus='wood': there are tokens of books, news"):
        plot.tokens(rows, "wood")
    with pytest.raises(ValueError, match="there are tokens of no corpus"):
        plot.tokens(pd.DataFrame({"testset": ["t"], "corpus": ["news"]}), "news")
    for folder in sweep_dir.glob("untrac/seed*"):
        files.write(folder, "tokens", rows)
    page = render(collect(sweep_dir), [])
    assert page.count("Where in the text: tokens that a corpus moved (untrac)") == 1
    assert shown(page) == ["The red <b>\nlantern.", "A ship", "A ship"]
