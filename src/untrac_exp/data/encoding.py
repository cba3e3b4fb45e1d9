"""From rows to token tensors: packed blocks for corpora of text, padded examples for the rest."""

import hashlib
import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from untrac_exp.data.base import Row
from untrac_exp.data.sampling import reservoir
from untrac_exp.data.tokenizing import ROWS_A_CALL, end_of_text, front_of, sides, token_ids
from untrac_exp.progress import Progress

log = logging.getLogger(__name__)

IGNORED = -100
"""The label of a token that is not scored."""
PREFIX = 16
"""Of a corpus that is cut down, blocks that are read for each that is kept."""


@dataclass(frozen=True)
class Encoded:
    """The token sequences of one dataset, as padded tensors.

    input_ids: (N, L) int32. What the model reads (the encoder of a seq2seq model).
    labels:    (N, M) int32. What is scored; `IGNORED` elsewhere. M = L for a causal model, where
               the label of a token stands at its own position (the model shifts them).
    lengths:   (N,) int32. How many of the L tokens are not padding.
    """

    input_ids: Tensor
    labels: Tensor
    lengths: Tensor
    seq2seq: bool = False

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def scored(self) -> Tensor:
        """(N,) how many tokens of each example are scored."""
        shown = self.labels if self.seq2seq else self.labels[:, 1:]
        return (shown != IGNORED).sum(1)

    @property
    def read(self) -> int:
        """How many tokens pass through the model when every example is read once."""
        read = int(self.lengths.sum())
        return read + int((self.labels != IGNORED).sum()) if self.seq2seq else read

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of token ids and labels."""
        digest = hashlib.sha256()
        for tensor in (self.input_ids, self.labels, self.lengths):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def select(self, indices: Tensor) -> "Encoded":
        return Encoded(
            self.input_ids[indices], self.labels[indices], self.lengths[indices], self.seq2seq
        )

    def sample(self, n: int | None, seed: int) -> "Encoded":
        """`n` examples drawn without replacement; all if n is None or more than there are."""
        return self if n is None or n >= len(self) else self.select(self._order(seed)[:n])

    def beyond(self, n: int | None, seed: int) -> "Encoded | None":
        """The `n` examples drawn after those of `sample`, or fewer; None if there is none."""
        if n is None or n >= len(self):
            return None
        return self.select(self._order(seed)[n : 2 * n])

    def _order(self, seed: int) -> Tensor:
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))

    def batch(self, indices: Tensor | slice) -> dict[str, Tensor]:
        """The examples as the keyword arguments of a Hugging Face model, trimmed to the longest."""
        lengths = self.lengths[indices]
        width = int(lengths.max())
        ids = self.input_ids[indices, :width].long()
        labels = self.labels[indices]
        if self.seq2seq:
            used = (labels != IGNORED).any(0)
            labels = labels[:, : int(used.nonzero().max()) + 1] if used.any() else labels[:, :1]
        else:
            labels = labels[:, :width]
        mask = torch.arange(width) < lengths[:, None]
        return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels.long()}

    def batches(self, max_tokens: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """All examples once, sorted by length, in batches of at most `max_tokens` padded tokens.

        Yields (indices of the examples, batch). An example longer than the budget comes alone.
        """
        sizes = self.lengths + (self.labels.shape[1] if self.seq2seq else 0)
        order = torch.argsort(sizes, stable=True)
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and (stop + 1 - start) * int(sizes[order[stop]]) <= max_tokens:
                stop += 1
            chosen = order[start:stop]
            yield chosen, self.batch(chosen)
            start = stop

    @staticmethod
    def concatenate(parts: Sequence["Encoded"]) -> "Encoded":
        """The examples of all parts, one after another."""
        width = max(part.input_ids.shape[1] for part in parts)
        out = max(part.labels.shape[1] for part in parts)

        def widen(tensor: Tensor, to: int, value: int) -> Tensor:
            return torch.nn.functional.pad(tensor, (0, to - tensor.shape[1]), value=value)

        return Encoded(
            torch.cat([widen(part.input_ids, width, 0) for part in parts]),
            torch.cat([widen(part.labels, out, IGNORED) for part in parts]),
            torch.cat([part.lengths for part in parts]),
            parts[0].seq2seq,
        )

    def save(self, path: Path) -> None:
        tensors = {"input_ids": self.input_ids, "labels": self.labels, "lengths": self.lengths}
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            path,
            metadata={"seq2seq": str(int(self.seq2seq))},
        )

    @staticmethod
    def load(path: Path, seq2seq: bool) -> "Encoded":
        return Encoded(**load_file(path), seq2seq=seq2seq)


def pad(inputs: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], seq2seq: bool) -> Encoded:
    """Ragged token lists (N of each) as one `Encoded`. Padding is token 0 and never read."""

    def table(rows: Sequence[Sequence[int]], value: int) -> Tensor:
        width = max(1, *(len(row) for row in rows)) if rows else 1
        out = torch.full((len(rows), width), value, dtype=torch.int32)
        for i, row in enumerate(rows):
            out[i, : len(row)] = torch.tensor(row, dtype=torch.int32)
        return out

    lengths = torch.tensor([len(row) for row in inputs], dtype=torch.int32)
    return Encoded(table(inputs, 0), table(labels, IGNORED), lengths, seq2seq)


def pack(
    rows: Iterable[Row],
    tokenizer: PreTrainedTokenizerBase,
    block_size: int,
    max_blocks: int | None,
    what: str,
    seed: int = 0,
) -> Encoded:
    """Texts joined with the end-of-text token and cut into blocks; the tail is dropped.

    max_blocks: keep as many, drawn by `seed` among the first `PREFIX` times as many blocks, each as
    likely as any other; nothing is read beyond these. None keeps all.

    A fast tokenizer works on all cores. Every token of a block is scored. A block begins with what
    the tokenizer itself puts before a text, unless that is the end-of-text token. `what` names the
    dataset in errors. Raises `ValueError` if there is not one whole block.
    """
    return pack_part(rows, tokenizer, block_size, max_blocks, what, seed)[0]


def pack_part(
    rows: Iterable[Row],
    tokenizer: PreTrainedTokenizerBase,
    block_size: int,
    max_blocks: int | None,
    what: str,
    seed: int = 0,
) -> tuple[Encoded, float]:
    """What `pack` returns, and which part of the blocks that were read it is."""
    end = end_of_text(tokenizer)
    first = [] if (front := front_of(tokenizer)) == [end] else front
    size = block_size - len(first)
    limit = None if max_blocks is None else PREFIX * max_blocks
    count = rest = 0

    def cut() -> Iterator[array]:
        nonlocal count, rest
        stream = array("i")
        progress = Progress(f"{what}: tokens", None if limit is None else limit * size)
        iterator = iter(rows)
        while chunk := list(islice(iterator, ROWS_A_CALL)):
            for ids in token_ids(tokenizer, [row.input + row.target for row in chunk]):
                stream.extend(ids)
                stream.append(end)
            n = len(stream) // size
            for i in range(n):
                count += 1
                yield stream[i * size : (i + 1) * size]
            del stream[: n * size]
            rest = len(stream)
            progress(count * size + rest)

    found = islice(cut(), limit)
    blocks = array("i")
    for block in found if max_blocks is None else reservoir(found, max_blocks, seed):
        blocks.extend(block)
    n = len(blocks) // size
    if n == 0:
        raise ValueError(
            f"{what}: {rest} tokens do not fill one block of {block_size}; "
            "add text or lower model.block_size"
        )
    table = torch.frombuffer(blocks, dtype=torch.int32).view(n, size)
    table = torch.cat([torch.tensor([first] * n, dtype=torch.int32), table], 1)
    data = Encoded(table, table.clone(), torch.full((n,), block_size, dtype=torch.int32))
    return data, n / count


def encode(
    rows: Iterable[Row],
    tokenizer: PreTrainedTokenizerBase,
    block_size: int,
    seq2seq: bool,
    what: str,
    skip_empty: bool = False,
) -> Encoded:
    """Rows one by one, only their targets scored.

    Causal: `start input target`, cut on the left of the input (then on the right of the target) to
    `block_size` tokens. `start` is what the tokenizer itself puts before a text (`<s>` of LLaMA,
    say), else its end-of-text token: thus a plain text is scored from its first token. Seq2seq:
    `input </s>` to the encoder, `target </s>` as labels, both cut on the right of the target and
    the left of the input; where the tokenizer puts a token before a text, that is before both.

    The chat of a row is rendered by the tokenizer's chat template, up to where the answer begins;
    without a template its `input` is used. One log line says how many texts were cut.

    skip_empty: leave out rows without a token to score, and say how many; else the n-th example is
    the n-th row. Raises `ValueError` if a row has no token to score, or none is left.
    """
    inputs: list[list[int]] = []
    labels: list[list[int]] = []
    front = front_of(tokenizer)
    n_cut = n_empty = 0
    progress = Progress(f"{what}: texts tokenized", None)
    for i, (source, target) in enumerate(sides(rows, tokenizer, seq2seq, what)):
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
            end, room = [end_of_text(tokenizer)], block_size - 1 - len(front)
            n_cut += len(source) > room or len(target) > room
            inputs.append([*front, *source[max(0, len(source) - room) :], *end])
            labels.append([*front, *target[:room], *end])
        else:
            start = front or [end_of_text(tokenizer)]
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
