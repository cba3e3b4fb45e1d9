"""What every source of text returns: named corpora and named test sets of rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    content: str


class Row(NamedTuple):
    """One text.

    Attributes:
        target: what is scored.
        input: its context, which is read and not scored; "" for plain text.
        chat: the turns before the answer `target`, which a tokenizer's chat template renders;
            `input` is their text for a tokenizer without one. Empty for what is no conversation.
    """

    target: str
    input: str = ""
    chat: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """A named training dataset.

    Attributes:
        name: as it is printed and sorted.
        rows: can be iterated again and again; need not fit in memory.
        fingerprint: stands for the content where hashing every row would mean reading it all (a
            dataset of the hub at a revision, say); None where rows are hashed.
        draw: ``draw(n, seed)`` gives at most n rows, drawn without replacement, without reading
            all; a corpus of fewer rows comes whole and in order. None where reading all is as well.
    """

    name: str
    rows: Iterable[Row]
    fingerprint: str | None = None
    draw: Callable[[int, int], Iterable[Row]] | None = None


@dataclass(frozen=True)
class TestSet:
    """A named set of texts to explain.

    Attributes:
        name: as it is printed.
        subsets: the texts of each subset, in the order in which they are shown.
    """

    __test__ = False  # the name starts with Test, yet pytest has nothing to collect here

    name: str
    subsets: Mapping[str, Sequence[Row]]
