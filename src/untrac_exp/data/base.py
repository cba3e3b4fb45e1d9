"""What every source of text returns: named corpora and named test sets of rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Row(NamedTuple):
    """One text. Only `target` is scored; `input` is its context ("" for plain text)."""

    target: str
    input: str = ""


@dataclass(frozen=True)
class Corpus:
    """A named training dataset.

    `rows` can be iterated again and again; it need not fit in memory. `fingerprint` stands for the
    content where hashing every row would mean reading it all (a hub dataset at a revision, say).
    """

    name: str
    rows: Iterable[Row]
    fingerprint: str | None = None


@dataclass(frozen=True)
class TestSet:
    """A named set of texts to explain, in named subsets. The order of the subsets is kept."""

    __test__ = False  # the name starts with Test, yet pytest has nothing to collect here

    name: str
    subsets: Mapping[str, Sequence[Row]]
