"""Seeded sampling, reproducible across machines and Python versions."""

import heapq
import itertools
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import itemgetter
from random import Random
from typing import TypeVar

from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.fingerprint import corpus_fingerprint
from untrac_exp.store import fingerprint

log = logging.getLogger(__name__)

_T = TypeVar("_T")
LONGEST = 2**16
"""Maximum characters of a drawn plain text; longer ones are cut to a window of that size."""
_ALIKE = 64
"""Length of the prefix by which overlapping texts are detected."""
_SPACE = re.compile(r"\s")
_WORDS = re.compile(r".*\s", re.DOTALL)


def sample(items: Sequence[_T], n: int, seed: int, name: str) -> list[_T]:
    """Draw `n` items without replacement, in random order; all of them if there are fewer.

    name: of the sampled dataset; part of the seed, so that datasets are drawn independently.
    """
    if len(items) < n:
        log.warning("%s: %d texts are available of the %d requested", name, len(items), n)
    random = Random(f"{name}/{seed}").random  # reproducible across Python versions
    order = sorted((random(), i) for i in range(len(items)))
    return [items[i] for _, i in order[:n]]


def reservoir(items: Iterable[_T], n: int, seed: int) -> list[_T]:
    """Draw `n` items of a stream uniformly, in random order; all, in order, if there are no more.

    Keeps the `n` items with the largest random numbers, so memory is independent of the length.
    """
    random, count = Random(f"reservoir/{seed}").random, itertools.count()
    kept = heapq.nlargest(n, ((random(), next(count), item) for item in items))
    kept.sort(key=itemgetter(1 if next(count) <= n else 0))
    return [item for *_, item in kept]


def sampled(corpus: Corpus, n: int, seed: int, window_chars: int | None = None) -> Corpus:
    """Return the corpus reduced to at most `n` rows, drawn without replacement.

    Uses `Corpus.draw` if the source has it; otherwise the corpus is read once with `n` rows in
    memory, each row equally likely. At most `n` rows are returned whole and in order.

    Args:
        n: maximum number of rows.
        window_chars: maximum length of a plain text in characters; longer ones are cut to a window
            that starts at a random word. If fewer than `n` rows result, all texts are cut into
            consecutive windows, of which `n` are drawn. Rows with a context are not cut. None cuts
            nothing.

    Returns:
        The sample; its fingerprint is a hash of the corpus' and the arguments, or None.
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
    """Draw at most `n` rows of a corpus that are not in `drawn`, a result of `sampled`.

    Plain texts that overlap a drawn one by their prefix are excluded too, since windows of a long
    text may overlap.
    """
    plain = [row.target for row in drawn if not row.input]
    text, starts = "\0".join(plain), [target[:_ALIKE] for target in plain]
    known = set(drawn)

    def is_known(row: Row) -> bool:
        if row.input:
            return row in known
        return row.target[:_ALIKE] in text or any(start in row.target for start in starts)

    more = sampled(corpus, n + len(drawn), seed, window_chars).rows
    return [row for row in more if not is_known(row)][:n]


def windows(rows: Iterable[Row], size: int, seed: int) -> Iterator[Row]:
    """Yield rows, with plain texts cut to `size` characters from a random word on."""
    random = Random(f"windows/{seed}").random
    for row in rows:
        if _is_long(row, size):
            start = int(random() * (len(row.target) - size + 1))
            if start and (space := _SPACE.search(row.target, start - 1, start + size // 2)):
                start = space.end()
            row = Row(_up_to_a_word(row.target, start, size))
        yield row


def _pieces(row: Row, size: int) -> Iterator[Row]:
    """Yield the row, or consecutive windows of at most `size` characters of a long plain text."""
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
    """Return at most `size` characters from `start`, cut at the end of a word."""
    piece = text[start : start + size]
    if start + size >= len(text) or text[start + size].isspace():
        return piece
    words = _WORDS.match(piece)
    return words[0] if words else piece
