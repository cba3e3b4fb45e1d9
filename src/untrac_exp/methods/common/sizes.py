"""Sizes of the datasets that a method reads, for estimates of its cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from untrac_exp.data.base import Subset
from untrac_exp.data.encoding import Encoded


class Size(NamedTuple):
    """Number of examples of a dataset, and tokens of one pass over them."""

    n: int
    tokens: int

    @staticmethod
    def of(data: Encoded) -> "Size":
        """Return the size of a dataset."""
        return Size(len(data), data.read)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the datasets that a method reads, for estimates of its cost.

    checkpoints: number of those saved during pretraining. trained: tokens that the training of θ0
    reads; 0 if it is not trained.
    """

    corpora: Mapping[str, Size]
    subsets: Mapping[Subset, Size]
    checkpoints: int = 0
    trained: int = 0

    @property
    def corpus_tokens(self) -> int:
        """Number of tokens of all corpora."""
        return sum(size.tokens for size in self.corpora.values())

    @property
    def subset_tokens(self) -> int:
        """Number of tokens of all test subsets."""
        return sum(size.tokens for size in self.subsets.values())

    @property
    def tokens(self) -> int:
        """Number of tokens of all datasets."""
        return self.corpus_tokens + self.subset_tokens

    def tokens_of(self, sequences: int) -> int:
        """Return the tokens of so many sequences of the corpora, at their mean length."""
        n = sum(size.n for size in self.corpora.values())
        return min(sequences, n) * self.corpus_tokens // n
