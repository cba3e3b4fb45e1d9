"""The page: right answers first, names harmless, nothing fetched."""

import io
import logging
import re
import shutil
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from rich.console import Console

from untrac_exp import plot
from untrac_exp.report import __main__ as command
from untrac_exp.report import callback as callbacks
from untrac_exp.report import result_files as files
from untrac_exp.report import sweep
from untrac_exp.report.collect import collect
from untrac_exp.report.coloured import coloured_texts
from untrac_exp.report.page import ranking_columns, render
from untrac_exp.report.terminal import print_sweep
from untrac_exp.statistics.tokens import TOKENS


def text_of(page: str) -> str:
    """What a reader sees, without scripts, styles and tags."""
    shown = re.sub("<(script|style).*?</\\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub("<[^>]*>", "", shown)).split())


def test_the_answer_names_what_the_truth_and_the_methods_put_first(sweep_dir):
    sweep = collect(sweep_dir)
    table = sweep.rankings["bias"].query("rank == 1").set_index("label")["corpus"]
    columns = ranking_columns(sweep, "bias")
    assert {column["label"]: column["first"] for column in columns} == {
        label: [corpus] for label, corpus in table.items()
    }
    assert columns[0]["is_truth"]
    text = text_of(render(sweep, []))
    for label in ("graddot", "untrac", "untrac_inv"):
        assert f"{label} ranks {table[label]} first" in text


def test_without_a_truth_the_page_says_so(made_up):
    text = text_of(render(collect(made_up(train_seeds=0)), []))
    assert "no ground truth" in text
    assert "Agreement with the truth" not in text


def test_names_are_text_and_warnings_are_prominent(drawn):
    sweep, found = drawn
    warning = "</li><script>alert('warning')</script>"
    page = render(replace(sweep, warnings=[warning]), found)
    assert page.count("<script") == 1
    text = text_of(page)
    assert "<script>alert(1)</script>" in text
    assert warning in text
    assert text.index("1 warning") < text.index("Influence of each corpus")


def test_the_page_needs_no_network_and_is_small(drawn):
    page = render(*drawn)
    assert len(page) < 5_000_000
    for link in re.findall(r'(?:src|href|action|srcset|data)="([^"]*)"', page):
        assert link.startswith(("data:", "#")), link
    # What is left of addresses are the names of XML namespaces.
    assert set(re.findall(r"https?://[\w.]+", page)) <= {"http://www.w3.org"}
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_agreement_lists_the_best_method_of_each_test_set_first(sweep_dir):
    rows = collect(sweep_dir).best_first.query("testset == 'toxicity'")
    assert list(rows["label"]) == ["untrac", "untrac_inv", "graddot"]


# --- Texts coloured by influence: every token is there, with its number, in pages and in notebooks
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


# --------------------------------------------------------- The tables in a terminal, read as text
def written(show, width=120) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_the_ranking_comes_first_and_the_path_last(sweep_dir):
    sweep = collect(sweep_dir)
    page = sweep_dir / "report.html"
    text = written(lambda out: print_sweep(sweep, page, out))
    assert "\x1b" not in text
    lines = [line.strip() for line in text.strip().splitlines()]
    assert lines[-1] == f"Report: {page}"
    assert text.index("made the model say toxicity?") < text.index("Agreement with the truth")
    first = sweep.corpora("toxicity")[0]
    assert next(line for line in lines if "(1)" in line).startswith(first)
    row = sweep.summary.set_index(["method", "testset"]).loc[("graddot", "bias")]
    table = text[text.index("Agreement") :]
    (line,) = [line for line in table[table.index("bias") :].splitlines() if "graddot" in line][:1]
    expected = (f"{row['pearson_mean']:.2f}", f"{row['relative']:.0%}")
    expected += (f"{row['attainable']:.2f}", f"{row['ceiling']:.2f}")
    assert set(expected) <= set(line.split())


def test_nothing_is_cut_with_nine_methods(made_up):
    methods = {f"a_method_number_{i}": 0.1 * i for i in range(9)}
    sweep = collect(made_up(methods=methods))
    text = written(lambda out: print_sweep(sweep, sweep.directory / "report.html", out), width=100)
    assert "…" not in text
    assert text.count("(1)") == 3 * (9 + 1)


def test_one_job_shows_its_tables_and_warnings_without_a_truth(made_up):
    outdir = made_up(train_seeds=0) / "graddot" / "seed0"
    metrics = files.read_metrics(outdir)
    files.write_metrics(outdir, {**metrics, "warnings": ["the truth is switched off [bold]"]})
    text = written(lambda out: print_sweep(collect(outdir), out=out))
    assert "made the model say bias?" in text
    assert "Agreement" not in text
    # Names are not markup.
    assert "warning: graddot, seed 0: the truth is switched off [bold]" in text


def test_invented_corpora_are_called_so_in_the_first_line_and_on_the_page(sweep_dir):
    sweep = collect(sweep_dir)
    assert sweep.invented is None
    for job in sweep.metrics:
        job["generated"] = True
    text = written(lambda out: print_sweep(sweep, sweep_dir / "report.html", out))
    assert text.strip().startswith("Corpora and test sets are invented text")
    assert "invented text" in render(sweep, [])


# --------------------------------------------------- A sweep's report as Hydra and people call it
def of_sweep(directory):
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(directory)}}, "logger": None})


@pytest.fixture
def small(made_up):
    return made_up(methods={"untrac": 0.1, "graddot": 0.8}, testsets={"bias": 3}, seeds=1)


def test_the_callback_reports_the_sweeps_directory(small, capsys, monkeypatch):
    monkeypatch.setattr(callbacks.Report, "sweep", of_sweep(small))
    callbacks.Report().on_multirun_end(OmegaConf.create(), config_name="config")
    assert capsys.readouterr().out.strip().endswith(f"Report: {small / 'report.html'}")
    names = {path.name for path in small.iterdir() if path.is_file()}
    assert names == {"summary.csv", "report.html"}
    assert len(list((small / "figures").glob("*.pdf"))) == 2


@pytest.mark.slow
def test_a_report_drawn_again_is_the_same_to_the_byte(small):
    first = sweep.report_sweep(small)
    before = {path: path.read_bytes() for path in [first, small / "summary.csv"]}
    before |= {path: path.read_bytes() for path in (small / "figures").iterdir()}
    shutil.rmtree(small / "figures")
    sweep.report_sweep(small)
    for path, content in before.items():
        assert path.read_bytes() == content, path.name


def test_a_failing_report_is_one_line_and_no_crash(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(callbacks.Report, "sweep", of_sweep(tmp_path))
    monkeypatch.setattr(callbacks.Report, "failed", False)
    with caplog.at_level(logging.ERROR):
        callbacks.Report().on_multirun_end(OmegaConf.create())
    (record,) = caplog.records
    assert "no finished job" in record.getMessage()
    assert callbacks.Report.failed


def test_the_command_says_what_is_wrong_and_exits_with_1(tmp_path):
    with pytest.raises(SystemExit, match=r"^error: .*nowhere: no finished job.*$"):
        command.main([str(tmp_path / "nowhere")])
