"""Nested samples of datasets by number of tokens, with long texts truncated."""

import sys

import torch
from torch import Tensor

from untrac_exp.data.encoding import IGNORED, Encoded, cut, pad


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
