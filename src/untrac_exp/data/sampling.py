"""Seeded samples, reproducible across machines and Python versions.

`sample` draws from a list, `reservoir` from a stream; `sample_rows` draws rows of a corpus before
it is tokenized.
"""

import heapq
import itertools
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil
from operator import itemgetter
from random import Random
from typing import TypeVar

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.fingerprint import corpus_fingerprint
from untrac_exp.store import fingerprint
from untrac_exp.store.code import code_fingerprint

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_FIRST_ROWS = 256
"""Rows of the first draw, from whose mean length the number of rows is estimated."""
_CHARS_PER_TOKEN = 6
"""More than typical, so that the rows have at least the requested tokens."""
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


def sample_subsets(name: str, subsets: Mapping[str, Sequence[Row]], n: int, seed: int) -> TestSet:
    """Return a test set of at most `n` texts drawn from each subset, in the order of names."""
    return TestSet(
        name, {key: sample(subsets[key], n, seed, f"{name}/{key}") for key in sorted(subsets)}
    )


def shuffled(items: Iterable[str], random: Callable[[], float]) -> list[str]:
    """Return the items in random order. random: the next number in [0, 1)."""
    return [item for _, item in sorted((random(), item) for item in items)]


def reservoir(items: Iterable[_T], n: int, seed: int) -> list[_T]:
    """Draw `n` items of a stream uniformly, in random order; all, in order, if there are no more.

    Keeps the `n` items with the largest random numbers, so memory is independent of the length.
    """
    random, count = Random(f"reservoir/{seed}").random, itertools.count()
    kept = heapq.nlargest(n, ((random(), next(count), item) for item in items))
    kept.sort(key=itemgetter(1 if next(count) <= n else 0))
    return [item for *_, item in kept]


def sample_rows(
    corpus: Corpus,
    n: int | None,
    seed: int,
    window_chars: int | None = None,
    n_tokens: int | None = None,
) -> Corpus:
    """Return the corpus reduced to at most `n` rows, drawn without replacement.

    The corpus is read once with `n` rows in memory, each row equally likely; of a large one only
    `Corpus.excerpt`, see its source for what is uniform. At most `n` rows are returned whole and in
    order.

    Args:
        n: maximum number of rows; None for no limit.
        window_chars: maximum length of a plain text in characters; longer ones are cut to a window
            that starts at a random word. If fewer than `n` rows result, all texts are cut into
            consecutive windows, of which `n` are drawn. Rows with a context are not cut. None cuts
            nothing.
        n_tokens: draw no more rows than have an estimated `n_tokens` tokens or more.

    Returns:
        The sample; its fingerprint is a hash of the corpus' and the arguments, or None.
    """
    n = sys.maxsize if n is None else n
    if n_tokens is not None:
        first = sample_rows(corpus, min(_FIRST_ROWS, n), seed, window_chars)
        rows = list(first.rows)
        chars = sum(len(row.input) + len(row.target) for row in rows)
        n = min(n, ceil(len(rows) * n_tokens * _CHARS_PER_TOKEN / max(1, chars)))
        if len(rows) < _FIRST_ROWS or n <= _FIRST_ROWS:
            return first
    rows = [] if corpus.excerpt is None else _draw(corpus.excerpt(n, seed), n, seed, window_chars)
    if len(rows) < n:
        rows = _draw(corpus.rows, n, seed, window_chars)
    if window_chars is not None and len(rows) < n:
        pieces = (piece for row in corpus.rows for piece in _pieces(row, window_chars))
        rows = reservoir(pieces, n, seed)
    mark = None
    if corpus.fingerprint is not None:
        key = [corpus_fingerprint(corpus), n, seed, window_chars, code_fingerprint([__name__])]
        mark = fingerprint(key)
    return Corpus(corpus.name, rows, mark, reading={**corpus.reading, "sampled": len(rows)})


def _draw(rows: Iterable[Row], n: int, seed: int, window_chars: int | None) -> list[Row]:
    """Draw `n` rows, with long plain texts cut to a window from a random word on."""
    random = Random(f"windows/{seed}").random

    def window(row: Row) -> Row:
        if window_chars is None or not _is_long(row, window_chars):
            return row
        start = int(random() * (len(row.target) - window_chars + 1))
        if start and (space := _SPACE.search(row.target, start - 1, start + window_chars // 2)):
            start = space.end()
        return Row(_up_to_a_word(row.target, start, window_chars))

    return reservoir(map(window, rows), n, seed)


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
