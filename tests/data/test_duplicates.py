"""Shared texts against the definition, set by set."""

import random
import re

import pytest

from untrac_exp.data.duplicates import shared_texts

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
