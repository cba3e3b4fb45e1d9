"""Nested samples of datasets by number of tokens, with long texts truncated."""

import sys
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from untrac_exp.data.base import Corpus
from untrac_exp.data.encoding import IGNORED, Encoded, cut, pad
from untrac_exp.data.sampling import sampled
from untrac_exp.store import Store
from untrac_exp.store.code import code_fingerprint

_ROWS = 256
"""Rows of the first draw, from whose mean length the number of rows is estimated."""
_CHARS_PER_TOKEN = 6
"""More than typical, so that the drawn rows have at least the requested tokens."""


def within(data: Encoded, tokens: int, seed: int, width: int = sys.maxsize) -> Tensor:
    """Draw examples until they have `tokens` tokens in total; return their indices (n,).

    At least one; the last one is complete. All in their own order if `data` has no more tokens. A
    larger sample extends a smaller one of the same seed. width: count at most so many tokens of an
    example.
    """
    sizes = data.lengths.long().clamp(max=width)
    if data.seq2seq:
        sizes = sizes + (data.labels != IGNORED).sum(1).clamp(max=width)
    if int(sizes.sum()) <= tokens:
        return torch.arange(len(data))
    order = data.order(seed)
    before = sizes[order].cumsum(0) - sizes[order]
    return order[before < tokens]


def shortened(data: Encoded, width: int) -> Encoded:
    """Truncate examples to `width` tokens, as `encode` does for this block size.

    Keeps the end of the context and the beginning of the scored tokens and, for a causal model, the
    first token of the sequence.
    """
    if max(data.input_ids.shape[1], data.labels.shape[1]) <= width:
        return data
    inputs, labels = [], []
    for ids, of, length in zip(data.input_ids, data.labels, data.lengths.tolist(), strict=True):
        scored = (of != IGNORED).nonzero().flatten()
        if data.seq2seq:
            inputs.append(ids[max(0, length - width) : length].tolist())
            labels.append(of[: int(scored[-1]) + 1][:width].tolist())
        else:
            first = max(1, int(scored[0]))
            context, target = cut([*range(1, first)], [*range(first, length)], width - 1)
            places = [0, *context, *target]
            inputs.append(ids[places].tolist())
            labels.append(of[places].tolist())
    return pad(inputs, labels, data.seq2seq)


def portion(data: Encoded, tokens: int, width: int, seed: int) -> tuple[Encoded, Tensor]:
    """Return a sample of about `tokens` tokens, truncated to `width`, and its indices (n,)."""
    rows = within(data, tokens, seed, width)
    whole = len(rows) == len(data)
    return shortened(data if whole else data.select(rows), width), rows


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
    rows = within(data, tokens, seed)
    if len(rows) == len(data):
        return folder
    code = code_fingerprint([__name__])
    key = {"of": folder.name, "tokens": tokens, "seed": seed, "code": code}
    return store.get("tokens", key, data.select(rows).save)
