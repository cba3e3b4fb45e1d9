"""Controls that read no model, against examples counted by hand and against plain formulas."""

from math import log

import numpy as np
import pytest

from untrac_exp.methods.bm25 import BM25
from untrac_exp.methods.common.words import split
from untrac_exp.methods.corpus_loss import CorpusLoss
from untrac_exp.methods.tfidf import TfIdf
from untrac_exp.methods.unigrams import Unigrams

FRUIT, PETS = ["Apple pear apple", "pear plum"], ["cat dog", "dog apple"]


def test_unigrams_by_hand():
    """Ten words: apple 3, pear 2, plum 1, cat 1, dog 2; with "fox" of the test V is 6."""
    [[fruit], [pets]] = Unigrams.table([FRUIT, PETS], [["apple dog", "fox"]])

    def loss(apple, dog, n, scale):
        return -sum(log((scale * c + 1) / (n + 6)) for c in (apple, dog, 0)) / 3

    complete = loss(3, 2, 9, 1)
    assert fruit == pytest.approx(loss(1, 2, 9, 9 / 4) - complete)
    assert pets == pytest.approx(loss(2, 0, 9, 9 / 5) - complete)


def test_without_its_only_corpus_a_word_has_the_probability_of_an_unseen_one():
    [[only]] = Unigrams.table([["a a"]], [["a"]])
    assert only == pytest.approx(log(3 / 3) - log(1 / 3))


def test_bm25_by_its_formula():
    texts = FRUIT + PETS
    lengths = [len(split(text)) for text in texts]

    def score(query, text):
        total = 0.0
        for word in split(query):
            df = sum(word in split(other) for other in texts)
            tf = split(text).count(word)
            idf = log(1 + (len(texts) - df + 0.5) / (df + 0.5))
            rest = 1.5 * (0.25 + 0.75 * len(split(text)) / np.mean(lengths))
            total += idf * tf / (tf + rest)
        return total

    queries = ["apple", "dog fox"]
    expected = [
        [np.mean([score(query, text) for query in queries for text in texts])]
        for texts in (FRUIT, PETS)
    ]
    np.testing.assert_allclose(BM25.table([FRUIT, PETS], [queries]), expected, rtol=1e-5)


def test_words_that_no_corpus_has_are_relevant_to_none():
    assert not BM25.table([FRUIT, PETS], [["fox"]]).any()


def test_tfidf_by_its_formula():
    texts = FRUIT + PETS
    words = sorted({word for text in texts for word in split(text)})

    def vector(text):
        tf = np.array([split(text).count(word) for word in words])
        df = np.array([sum(word in split(other) for other in texts) for word in words])
        weights = tf * (np.log((1 + len(texts)) / (1 + df)) + 1)
        return weights / np.linalg.norm(weights)

    expected = [
        [np.mean([vector(text) @ vector("apple dog") for text in texts])] for texts in (FRUIT, PETS)
    ]
    np.testing.assert_allclose(TfIdf.table([FRUIT, PETS], [["apple dog"]]), expected)


def test_the_loss_of_a_corpus_is_the_same_for_all_test_sets(subject):
    scores = (
        CorpusLoss()
        .influences(subject)
        .scores.pivot(index="corpus", columns=["testset", "subset"], values="influence")
    )
    for corpus, data in subject.corpora.items():
        np.testing.assert_allclose(scores.loc[corpus], -subject.losses(data).mean)
