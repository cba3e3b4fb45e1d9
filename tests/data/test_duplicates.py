"""Shared texts against the definition, set by set."""

import json
import random
import re

import pytest

from untrac_exp.data.duplicates import shared_texts
from untrac_exp.data.sources import local

FOX = "The quick brown fox jumps over the lazy dog near the old river bank."
WIND = "A cold wind came over the hills and the ships stayed in the harbour all night."


def found(corpora, tests, n=8):
    table = shared_texts(corpora, tests, n)
    assert list(table.columns) == ["corpus", "subset", "test_index", "share", "excerpt"]
    return list(table.itertuples(index=False, name=None))


def test_a_copy_is_found_whatever_its_case_and_punctuation_and_where_it_stands():
    document = f"He said: «{FOX.upper().replace(' ', ', ')}» and went."
    rows = found({"a": [WIND, document], "b": [WIND]}, {("t", "all"): ["nothing of it", FOX]})
    [(corpus, subset, index, share, excerpt)] = rows
    assert (corpus, subset, index, share) == ("a", ("t", "all"), 1, 1.0)
    assert excerpt.startswith("THE, QUICK, BROWN")


def test_the_share_is_of_the_grams_and_of_the_best_document():
    words = FOX.split()
    near = " ".join([*words[:-2], "green", "hill"])  # of its 7 grams of 8 words 5 are left
    rows = found({"a": [WIND, " ".join(words[:9]), near]}, {"t": [FOX]})
    assert rows == [("a", "t", 0, 5 / 7, near[:120])]


def test_less_than_half_is_not_reported():
    words = FOX.split()
    assert found({"a": [" ".join(words[:10]), " ".join(words[4:])]}, {"t": [FOX]}, 8) == []
    assert found({"a": [WIND]}, {"t": [FOX]}) == []


def test_a_short_text_is_one_gram():
    tests = {"t": ["lazy dog", "lazy cat", "...", ""]}
    assert [row[:4] for row in found({"a": [FOX]}, tests)] == [("a", "t", 0, 1.0)]


def test_the_most_shared_come_first_and_every_corpus_is_there():
    half = " ".join(FOX.split()[:11])
    rows = found({"a": iter([half]), "b": iter([FOX])}, {"t": [FOX]})
    assert [row[:4] for row in rows] == [("b", "t", 0, 1.0), ("a", "t", 0, 4 / 7)]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_same_as_sets_of_grams(n):
    """Of random texts over few words, against the definition in one line."""
    draw = random.Random(n)

    def texts(count, most):
        return [" ".join(draw.choices("abcd", k=draw.randrange(1, most))) for _ in range(count)]

    def grams(text, length):
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}

    corpora, tests = {"x": texts(30, 25), "y": texts(5, 40)}, {"s": texts(15, 9), "t": texts(9, 20)}
    expected = {}
    for corpus, documents in corpora.items():
        for key, ours in tests.items():
            for i, text in enumerate(ours):
                length = min(n, len(text.split()))
                own = grams(text, length)
                share = max(len(own & grams(document, length)) / len(own) for document in documents)
                if share >= 0.5:
                    expected[corpus, key, i] = share
    assert expected
    assert {row[:3]: row[3] for row in found(corpora, tests, n)} == expected


def test_a_corpus_that_is_the_test_set_is_reported_whole(tmp_path):
    path = tmp_path / "same.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("one of them", FOX)))
    [corpus] = local.corpora({"a": str(path)})
    [testset] = local.testsets({"t": str(path)})
    documents = [row.input + row.target for row in corpus.rows]
    tests = {name: [row.target for row in rows] for name, rows in testset.subsets.items()}
    assert [row[:4] for row in found({"a": documents}, tests)] == [
        ("a", "all", 0, 1.0),
        ("a", "all", 1, 1.0),
    ]
