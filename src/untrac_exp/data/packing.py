"""Convert token ids to sequences: packed blocks of plain text, or padded examples."""

import logging
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice

import torch

from untrac_exp.data.base import Row
from untrac_exp.data.encoding import IGNORED, Encoded, cut, pad
from untrac_exp.data.sampling import reservoir
from untrac_exp.data.tokenizing import Pair, Tokenization
from untrac_exp.runtime.progress import Progress

log = logging.getLogger(__name__)

PREFIX = 16
"""Blocks read per block kept, if a corpus is subsampled."""


def packed(
    rows: Iterable[Row],
    tokenization: Tokenization,
    block_size: int,
    max_sequences: int | None,
    seed: int = 0,
) -> Encoded:
    """Pack plain texts into blocks and pad rows with a context.

    Plain texts are joined with the end-of-text token and cut into blocks; the incomplete last block
    is dropped. Rows with a context are single examples, as in `padded`. If there are such rows and
    the plain texts do not fill a block, all rows are single examples.

    Every token of a block is scored. A block starts with the tokens that the tokenizer puts before
    a text, except the end-of-text token.

    Args:
        block_size: tokens per block.
        max_sequences: number of sequences to keep; None keeps all. Blocks are drawn uniformly from
            the first `PREFIX` times as many, with the same fraction of the other rows. No more
            rows are read.
        seed: of the draw.

    Raises:
        ValueError: there are only plain texts, and they do not fill a block.
    """
    first = [] if tokenization.front == [tokenization.end] else tokenization.front
    size = block_size - len(first)
    limit = None if max_sequences is None else PREFIX * max_sequences
    progress = Progress(f"{tokenization.what}: tokens", None if limit is None else limit * size)
    stream = array("i")
    count = 0
    kept: list[Pair] = []  # rows with a context; all rows until the first block is full

    def filled() -> Iterator[array]:
        nonlocal count
        for pair in tokenization.pairs(rows):
            if not (pair.plain and count):
                kept.append(pair)
            if pair.plain:
                stream.extend([*pair.target, tokenization.end])
            n = len(stream) // size
            for i in range(n):
                count += 1
                yield stream[i * size : (i + 1) * size]
            del stream[: n * size]
            progress(count * size + len(stream))

    some_blocks = islice(filled(), limit)
    blocks = (
        list(some_blocks) if max_sequences is None else reservoir(some_blocks, max_sequences, seed)
    )
    others = [pair for pair in kept if not pair.plain]
    if not blocks:
        if not others:
            raise ValueError(
                f"{tokenization.what}: {len(stream)} tokens do not fill one block of {block_size}; "
                "add text or lower model.block_size"
            )
        return padded(kept, tokenization, block_size, skip_empty=True)
    n = len(blocks)
    table = torch.stack([torch.frombuffer(block, dtype=torch.int32) for block in blocks])
    table = torch.cat([torch.tensor([first] * n, dtype=torch.int32), table], 1)
    parts = [Encoded(table, table.clone(), torch.full((n,), block_size, dtype=torch.int32))]
    if n < count:  # keep the proportion of blocks and other rows
        others = reservoir(others, round(n / count * len(others)), seed=0)
    if others:
        parts.append(padded(others, tokenization, block_size, skip_empty=True))
    return Encoded.concatenate(parts)


def padded(
    pairs: Iterable[Pair], tokenization: Tokenization, block_size: int, skip_empty: bool = False
) -> Encoded:
    """Encode each text as one example, of which only the target is scored.

    Causal: `start input target`, truncated to `block_size` tokens on the left of the input, then on
    the right of the target. `start` is what the tokenizer puts before a text (such as `<s>`), or
    the end-of-text token, so a plain text is scored from its first token. Seq2seq: `input </s>` for
    the encoder (without `</s>` if not `tokenization.end_of_input`, but never empty) and
    `target </s>` as labels, truncated on the left of the input and the right of the
    target, both preceded by what the tokenizer puts before a text. The number of truncated texts is
    logged.

    Args:
        block_size: maximum number of tokens of an example.
        skip_empty: skip texts without scored tokens and log their number.

    Raises:
        ValueError: a text has no scored token and `skip_empty` is false, or no text is left.
    """
    inputs: list[list[int]] = []
    labels: list[list[int]] = []
    front, what = tokenization.front, tokenization.what
    start = front if tokenization.seq2seq else front or [tokenization.end]
    stop = [tokenization.end] if tokenization.seq2seq else []
    room = block_size - len(start) - len(stop)
    counts = tokenization.counts
    progress = Progress(f"{what}: texts tokenized", None)
    for i, (source, target, _) in enumerate(pairs):
        if not target:
            if not skip_empty:
                raise ValueError(
                    f"{what}: text {i + 1} has no token to score; give it a target (or text)"
                )
            counts["empty"] += 1
            continue
        progress(i)
        if front and source[: len(front)] == front:  # already written by a chat template
            source = source[len(front) :]
        if tokenization.seq2seq:
            counts["cut"] += max(len(source), len(target)) > room
            source = [*start, *source[max(0, len(source) - room) :]]
            inputs.append([*source, *stop] if tokenization.end_of_input or not source else source)
            labels.append([*start, *target[:room], *stop])
        else:
            counts["cut"] += len(source) + len(target) > room
            source, target = cut(source, target, room)
            inputs.append([*start, *source, *target])
            labels.append([IGNORED] * (len(start) + len(source)) + target)
    if counts["empty"]:
        log.info("%s: %d texts without a token to score are skipped", what, counts["empty"])
    if counts["cut"]:
        log.info(
            "%s: %d of %d texts cut to %d tokens", what, counts["cut"], len(inputs), block_size
        )
    if not inputs:
        raise ValueError(f"{what} has no texts to score; add at least one")
    return pad(inputs, labels, tokenization.seq2seq)
