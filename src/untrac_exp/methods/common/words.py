"""Scores of words, for the controls that read the texts and not the model."""

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.methods.base import Arrays, Influences, Subject, gradient_scores

_WORD = r"(?u)\b\w+\b"

Scores = Callable[[list[list[str]], list[list[str]]], np.ndarray]
"""Maps the texts of each corpus and of each test subset to influences (corpora, subsets)."""


def score_texts(subject: Subject, name: str, scores: Scores) -> Influences:
    """Return the influences that `scores` computes from all texts that the model was trained on.

    name: of the part in the store.
    """

    def compute() -> Arrays:
        corpora = [texts(subject, data) for data in subject.trained_on.values()]
        return {
            "scores": scores(corpora, [texts(subject, data) for data in subject.subsets.values()])
        }

    reads = {"corpora": subject.trained_on.values(), "subsets": subject.subsets.values()}
    table = subject.part(name, compute, reads, draws=False)["scores"]
    return Influences(
        gradient_scores(
            {
                (corpus, subset): float(table[i, j])
                for j, subset in enumerate(subject.subsets)
                for i, corpus in enumerate(subject.trained_on)
            }
        )
    )


def texts(subject: Subject, data: Encoded) -> list[str]:
    """Return the text of each example; of an encoder-decoder, its input and its target."""
    rows = [row[:n].tolist() for row, n in zip(data.input_ids, data.lengths, strict=True)]
    if data.seq2seq:
        targets = [row[row != IGNORED].tolist() for row in data.labels]
        rows = [row + target for row, target in zip(rows, targets, strict=True)]
    return [subject.decode(row) for row in rows]


def split(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(_WORD, text.lower())


def vectorizer(name: str) -> Any:
    """Return a vectorizer of scikit-learn by the name of its class, with the words of `split`."""
    from sklearn.feature_extraction import text

    return getattr(text, name)(token_pattern=_WORD)


def check_installed(method: str, module: str) -> None:
    """Raise ValueError if the library of a control is missing."""
    if find_spec(module) is None:
        raise ValueError(f"method={method} needs {module}: pip install 'untrac-exp[controls]'")
