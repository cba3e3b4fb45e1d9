"""From token ids to sequences: packed blocks for corpora of text, padded examples for the rest."""

import logging
from array import array
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import torch

from untrac_exp.data.encoding import IGNORED, Encoded, pad
from untrac_exp.data.sampling import reservoir
from untrac_exp.data.tokenizing import ROWS_A_CALL, Pair, Texts
from untrac_exp.progress import Progress

log = logging.getLogger(__name__)

PREFIX = 16
"""Of a corpus that is cut down, blocks that are read for each that is kept."""


def packed(texts: Texts, block_size: int, max_sequences: int | None, seed: int = 0) -> Encoded:
    """Plain texts joined with the end-of-text token and cut into blocks, then the other rows.

    The tail of the plain texts is dropped; rows with a context stand one by one, as in `padded`.
    Where a few plain texts among others fill no block, all rows do.

    max_sequences: keep as many, blocks drawn by `seed` among the first `PREFIX` times as many, each
    as likely as any other, and of the other rows the same part; nothing is read beyond these. None
    keeps all.

    Every token of a block is scored. A block begins with what the tokenizer itself puts before a
    text, unless that is the end-of-text token. Raises `ValueError` if there is not one whole block.
    """
    end = texts.end
    first = [] if texts.front == [end] else texts.front
    size = block_size - len(first)
    limit = None if max_sequences is None else PREFIX * max_sequences
    progress = Progress(f"{texts.what}: tokens", None if limit is None else limit * size)
    stream = array("i")
    count = 0
    kept: list[Pair] = []  # the rows with a context; all rows, until there is a block

    def cut() -> Iterator[array]:
        nonlocal count
        pairs = iter(texts.pairs)
        while some := _until(pairs, ROWS_A_CALL):
            kept.extend(pair for pair in some if not (pair.plain and count))
            for pair in some:
                if pair.plain:
                    stream.extend(pair.target)
                    stream.append(end)
            n = len(stream) // size
            for i in range(n):
                count += 1
                yield stream[i * size : (i + 1) * size]
            del stream[: n * size]
            progress(count * size + len(stream))

    found = islice(cut(), limit)
    blocks = array("i")
    for block in found if max_sequences is None else reservoir(found, max_sequences, seed):
        blocks.extend(block)
    n = len(blocks) // size
    others = [pair for pair in kept if not pair.plain]
    if n == 0:
        if not others:
            raise ValueError(
                f"{texts.what}: {len(stream)} tokens do not fill one block of {block_size}; "
                "add text or lower model.block_size"
            )
        alone = padded(replace(texts, pairs=kept), block_size, skip_empty=True)
        return alone.sample(max_sequences, seed=0)
    table = torch.frombuffer(blocks, dtype=torch.int32).view(n, size)
    table = torch.cat([torch.tensor([first] * n, dtype=torch.int32), table], 1)
    parts = [Encoded(table, table.clone(), torch.full((n,), block_size, dtype=torch.int32))]
    if n < count:  # of the others as many, or their share would grow
        others = reservoir(others, round(n / count * len(others)), seed=0)
    if others:
        parts.append(padded(replace(texts, pairs=others), block_size, skip_empty=True))
    return Encoded.concatenate(parts).sample(max_sequences, seed=0)


def _until(pairs: Iterator[Pair], plain: int) -> list[Pair]:
    """The next pairs, up to so many plain ones."""
    some: list[Pair] = []
    while plain and (pair := next(pairs, None)) is not None:
        some.append(pair)
        plain -= pair.plain
    return some


def padded(texts: Texts, block_size: int, skip_empty: bool = False) -> Encoded:
    """Texts one by one, only their targets scored.

    Causal: `start input target`, cut on the left of the input (then on the right of the target) to
    `block_size` tokens. `start` is what the tokenizer itself puts before a text (`<s>` of LLaMA,
    say), else its end-of-text token: thus a plain text is scored from its first token. Seq2seq:
    `input </s>` to the encoder, `target </s>` as labels, both cut on the right of the target and
    the left of the input; where the tokenizer puts a token before a text, that is before both.

    One log line says how many texts were cut.

    skip_empty: leave out texts without a token to score, and say how many; else the n-th example is
    the n-th text. Raises `ValueError` if a text has no token to score, or none is left.
    """
    inputs: list[list[int]] = []
    labels: list[list[int]] = []
    front, what, seq2seq = texts.front, texts.what, texts.seq2seq
    n_cut = n_empty = 0
    progress = Progress(f"{what}: texts tokenized", None)
    for i, (source, target, _) in enumerate(texts.pairs):
        if not target:
            if not skip_empty:
                raise ValueError(
                    f"{what}: text {i + 1} has no token to score; give it a target (or text)"
                )
            n_empty += 1
            continue
        progress(i)
        if front and source[: len(front)] == front:  # a chat template writes it too
            source = source[len(front) :]
        if seq2seq:
            end, room = [texts.end], block_size - 1 - len(front)
            n_cut += len(source) > room or len(target) > room
            inputs.append([*front, *source[max(0, len(source) - room) :], *end])
            labels.append([*front, *target[:room], *end])
        else:
            start = front or [texts.end]
            room = block_size - len(start)
            n_cut += len(source) + len(target) > room
            target = target[:room]
            source = source[max(0, len(source) - (room - len(target))) :]
            inputs.append([*start, *source, *target])
            labels.append([IGNORED] * (len(start) + len(source)) + target)
    if n_empty:
        log.info("%s: %d texts without a token to score are left out", what, n_empty)
    if n_cut:
        log.info("%s: %d of %d texts cut to %d tokens", what, n_cut, len(inputs), block_size)
    if not inputs:
        raise ValueError(f"{what} has no texts to score; give it at least one")
    return pad(inputs, labels, seq2seq)
