"""What every source of text returns: named corpora and named test sets of rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    content: str


class Row(NamedTuple):
    """One text. Only `target` is scored; `input` is its context ("" for plain text).

    chat: the turns before the answer `target`, which a tokenizer's chat template renders; `input`
    is their text for a tokenizer without one. Empty for what is no conversation.
    """

    target: str
    input: str = ""
    chat: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """A named training dataset.

    `rows` can be iterated again and again; it need not fit in memory. `fingerprint` stands for the
    content where hashing every row would mean reading it all (a hub dataset at a revision, say).
    `draw(n, seed)` gives at most `n` rows, drawn without replacement, without reading all; a corpus
    of fewer rows comes whole and in order. None where reading all is as well.
    """

    name: str
    rows: Iterable[Row]
    fingerprint: str | None = None
    draw: Callable[[int, int], Iterable[Row]] | None = None


@dataclass(frozen=True)
class TestSet:
    """A named set of texts to explain, in named subsets. The order of the subsets is kept."""

    __test__ = False  # the name starts with Test, yet pytest has nothing to collect here

    name: str
    subsets: Mapping[str, Sequence[Row]]
