"""Nested samples of datasets by number of tokens."""

import sys
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from untrac_exp.data.base import Corpus
from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.data.sampling import sampled
from untrac_exp.store import Store
from untrac_exp.store.code import code_fingerprint

_ROWS = 256
"""Rows of the first draw, from whose mean length the number of rows is estimated."""
_CHARS_PER_TOKEN = 6
"""More than typical, so that the drawn rows have at least the requested tokens."""


def sample_rows(data: Encoded, tokens: int, seed: int) -> Tensor:
    """Draw examples until they have `tokens` tokens in total; return their indices (n,).

    At least one; the last one is complete. All in their own order if `data` has no more tokens. A
    larger sample extends a smaller one of the same seed.
    """
    sizes = data.lengths.long()
    if data.seq2seq:
        sizes = sizes + (data.labels != IGNORED).sum(1)
    if data.read <= tokens:
        return torch.arange(len(data))
    order = data.order(seed)
    before = sizes[order].cumsum(0) - sizes[order]
    return order[before < tokens]


def drawn(corpus: Corpus, tokens: int, most: int | None, seed: int, window_chars: int) -> Corpus:
    """Draw rows of a corpus with an estimated `tokens` tokens or more; see `sampled`.

    most: maximum number of rows; None for no limit.
    """
    most = sys.maxsize if most is None else most
    first = sampled(corpus, min(_ROWS, most), seed, window_chars)
    rows = list(first.rows)
    chars = sum(len(row.input) + len(row.target) for row in rows)
    n = min(most, ceil(len(rows) * tokens * _CHARS_PER_TOKEN / max(1, chars)))
    return sampled(corpus, n, seed, window_chars) if len(rows) >= _ROWS and n > _ROWS else first


def token_sample(folder: Path, tokens: int, seed: int, store: Store) -> Path:
    """Return the folder of a sample of about `tokens` tokens; `folder` if it has no more."""
    data = Encoded.load(folder)
    rows = sample_rows(data, tokens, seed)
    if len(rows) == len(data):
        return folder
    code = code_fingerprint([__name__])
    key = {"of": folder.name, "tokens": tokens, "seed": seed, "code": code}
    return store.get("tokens", key, data.select(rows).save)
