"""Types that data sources return: named corpora and named test sets of rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    content: str


class Row(NamedTuple):
    """One text.

    Attributes:
        target: the text that is scored.
        input: its context, which is not scored; "" for plain text.
        chat: the turns before the answer `target`, rendered by the tokenizer's chat template. A
            tokenizer without one uses `input`, their text. Empty if the row is no conversation.
    """

    target: str
    input: str = ""
    chat: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """A named training dataset.

    Attributes:
        name: name in results.
        rows: an iterable that can be iterated repeatedly; it need not fit in memory.
        fingerprint: identifies the content without reading it, such as a revision of a hub dataset;
            None to hash the rows.
        excerpt: ``excerpt(n, seed)`` returns rows to draw `n` from, without reading all; fewer if
            there are too few. None to draw from `rows`.
        reading: number of `files`, `rows` and `characters` that were read, of `skipped` rows
            without text, and the names of `ignored` files by the reason; filled as rows are read.
    """

    name: str
    rows: Iterable[Row]
    fingerprint: str | None = None
    excerpt: Callable[[int, int], Iterable[Row]] | None = None
    reading: dict[str, Any] = field(default_factory=dict, compare=False)


class Subset(NamedTuple):
    """Name of a subset of a test set."""

    testset: str
    subset: str


@dataclass(frozen=True)
class TestSet:
    """A named set of texts to explain.

    Attributes:
        name: name in results.
        subsets: the texts of each subset, in display order.
    """

    __test__ = False  # pytest would collect it by its name

    name: str
    subsets: Mapping[str, Sequence[Row]]
