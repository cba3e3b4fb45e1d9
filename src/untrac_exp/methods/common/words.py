"""Scores of words, for the controls that read the texts and not the model."""

import re
from abc import abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.methods.base import Arrays, Influences, Method, Subject, score_table
from untrac_exp.methods.common.sizes import Sizes

_WORD = r"(?u)\b\w+\b"


@dataclass(frozen=True)
class TextMethod(Method):
    """A method that reads all texts that the model was trained on, and not the model."""

    name: ClassVar[str]
    """Its name in conf/method."""
    library: ClassVar[str]
    """The module of the extra `controls` that it needs."""

    def __post_init__(self) -> None:
        if find_spec(self.library) is None:
            raise ValueError(
                f"method={self.name} needs {self.library}: pip install 'untrac-exp[controls]'"
            )

    @staticmethod
    @abstractmethod
    def table(corpora: list[list[str]], subsets: list[list[str]]) -> np.ndarray:
        """Return influences (Z, S) from the texts of Z corpora and of S test subsets."""

    def influences(self, subject: Subject) -> Influences:
        def compute() -> Arrays:
            corpora = [texts(subject, data) for data in subject.trained_on.values()]
            subsets = [texts(subject, data) for data in subject.subsets.values()]
            return {"scores": self.table(corpora, subsets)}

        reads = {"corpora": subject.trained_on.values(), "subsets": subject.subsets.values()}
        scores = subject.part("scores", compute, reads, draws=False)["scores"]
        return Influences(score_table(subject, scores))

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        return 0, 0


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
