"""Seeded samples that are the same on every machine and under every version of Python."""

import heapq
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from random import Random
from typing import TypeVar

from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.fingerprint import corpus_fingerprint
from untrac_exp.store import fingerprint

log = logging.getLogger(__name__)

_T = TypeVar("_T")
LONGEST = 2**16
"""Characters of a plain text that a draw keeps: what is longer comes as a window of that size."""
_ALIKE = 64
"""Characters by which the beginning of a text is found in another."""
_SPACE = re.compile(r"\s")
_WORDS = re.compile(r".*\s", re.DOTALL)


def sample(items: Sequence[_T], n: int, seed: int, name: str) -> list[_T]:
    """`n` of `items`, drawn without replacement, in the order drawn; all of them if fewer.

    name: of what is sampled, so that two subsets are not drawn by the same numbers.
    """
    if len(items) < n:
        log.warning("%s: %d texts are available of the %d requested", name, len(items), n)
    random = Random(f"{name}/{seed}").random  # of all its numbers, Python guarantees these
    order = sorted((random(), i) for i in range(len(items)))
    return [items[i] for _, i in order[:n]]


def reservoir(items: Iterable[_T], n: int, seed: int) -> list[_T]:
    """`n` of a stream, each as likely as any other, in random order; all, in order, if no more.

    Holds `n` items and one, whatever the length of the stream: every item gets a random number and
    the `n` largest stay.
    """
    random = Random(f"reservoir/{seed}").random
    kept: list[tuple[float, int, _T]] = []  # a heap; the count keeps items from being compared
    count = 0
    for item in items:
        entry = (random(), count, item)
        if count < n:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)
        count += 1
    kept.sort(key=lambda entry: entry[1] if count <= n else entry[0])
    return [item for _, _, item in kept]


def distinct(
    place: Callable[[float], tuple[int, int, Row | None]], budget: int, n: int, seed: int
) -> list[Row] | None:
    """`n` different rows from random places; None if `budget` is spent before they are found.

    place: of a number in [0, 1), (where the row there starts, what it cost to read, the row). A row
    that is None is left out.
    """
    random = Random(f"places/{seed}").random
    seen: set[int] = set()
    rows: list[Row] = []
    while len(rows) < n and budget > 0:
        start, cost, row = place(random())
        budget -= cost
        if row is not None and start not in seen:
            seen.add(start)
            rows += windows([row], LONGEST, start)
    return rows if len(rows) == n else None


def sampled(corpus: Corpus, n: int, seed: int, window_chars: int | None = None) -> Corpus:
    """The corpus cut down to a list of at most `n` rows, drawn without replacement.

    A source that can draw by itself does (see `Corpus.draw`, and the source for how evenly); others
    are read once, holding `n` rows, each row as likely as any other. A corpus of at most `n` rows
    comes whole and in order.

    window_chars: plain texts longer than this are cut to a window of at most so many characters,
    which starts at a word in a random place; else a book would always stand for its beginning. If
    that leaves fewer than `n` rows, the texts are cut into windows one after another, and `n` of
    all windows are drawn. Rows with a context are never cut here. None keeps every row whole.

    The fingerprint is of `corpus_fingerprint`, `n`, `seed` and `window_chars`; None if the source
    has none.
    """
    rows = corpus.rows if corpus.draw is None else corpus.draw(n, seed)
    if window_chars is not None:
        rows = windows(rows, window_chars, seed)
    rows = reservoir(rows, n, seed) if corpus.draw is None else list(rows)
    if window_chars is not None and len(rows) < n:
        pieces = (piece for row in corpus.rows for piece in _pieces(row, window_chars))
        rows = reservoir(pieces, n, seed)
    mark = corpus.fingerprint and fingerprint([corpus_fingerprint(corpus), n, seed, window_chars])
    return Corpus(corpus.name, rows, mark)


def further(
    corpus: Corpus, n: int, seed: int, window_chars: int | None, drawn: Collection[Row]
) -> list[Row]:
    """At most `n` rows of a corpus beyond those that `sampled` has `drawn` of it.

    A second draw, without the rows of the first. Of two plain texts of which one holds the
    beginning of the other, only the drawn one stays: windows of a long text may overlap.
    """
    plain = [row.target for row in drawn if not row.input]
    text, starts = "\0".join(plain), [target[:_ALIKE] for target in plain]
    known = set(drawn)

    def is_new(row: Row) -> bool:
        if row.input:
            return row not in known
        alike = row.target[:_ALIKE] in text or any(start in row.target for start in starts)
        return not alike

    more = sampled(corpus, n + len(drawn), seed, window_chars).rows
    return [row for row in more if is_new(row)][:n]


def windows(rows: Iterable[Row], size: int, seed: int) -> Iterator[Row]:
    """The rows; of a longer plain text at most `size` characters, from a word at random on."""
    random = Random(f"windows/{seed}").random
    for row in rows:
        if _is_long(row, size):
            start = int(random() * (len(row.target) - size + 1))
            if start and (space := _SPACE.search(row.target, start - 1, start + size // 2)):
                start = space.end()
            yield Row(_up_to_a_word(row.target, start, size))
        else:
            yield row


def _pieces(row: Row, size: int) -> Iterator[Row]:
    """The row, or the windows of at most `size` characters that a long plain text is made of."""
    if not _is_long(row, size):
        yield row
        return
    start = 0
    while start < len(row.target):
        piece = _up_to_a_word(row.target, start, size)
        start += len(piece)
        if not piece.isspace():
            yield Row(piece)


def _is_long(row: Row, size: int) -> bool:
    return not row.input and not row.chat and len(row.target) > size


def _up_to_a_word(text: str, start: int, size: int) -> str:
    """At most `size` characters from `start` on, without a part of a word at the end."""
    piece = text[start : start + size]
    if start + size >= len(text) or text[start + size].isspace():
        return piece
    words = _WORDS.match(piece)
    return words[0] if words else piece
