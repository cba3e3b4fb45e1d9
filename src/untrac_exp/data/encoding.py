"""Token sequences of a dataset as tensors."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100
"""The label of a token that is not scored."""
_FILE, _TENSORS = "tokens.safetensors", ("input_ids", "labels", "lengths")


@dataclass(frozen=True)
class Encoded:
    """Token sequences of N examples as padded tensors.

    Attributes:
        input_ids: (N, L) int32, input of the model (of the encoder, if seq2seq).
        labels: (N, M) int32, scored tokens, `IGNORED` elsewhere. For a causal model M = L and the
            label of a token is at its own position, before the shift.
        lengths: (N,) int32, number of the L tokens that are not padding.
        seq2seq: whether the examples are for an encoder-decoder.
        saved: (folder, n, seed) of examples that `load` read or `sample` drew from them. They are
            pickled as this reference.
    """

    input_ids: Tensor
    labels: Tensor
    lengths: Tensor
    seq2seq: bool = False
    saved: tuple[Path, int | None, int] | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.saved is not None:
            return _load_sample, self.saved
        return Encoded, (self.input_ids, self.labels, self.lengths, self.seq2seq)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def scored(self) -> Tensor:
        """Number of scored tokens of each example (N,)."""
        shown = self.labels if self.seq2seq else self.labels[:, 1:]
        return (shown != IGNORED).sum(1)

    @property
    def read(self) -> int:
        """Number of tokens of one forward pass over all examples, without padding."""
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

    def order(self, seed: int) -> Tensor:
        """Return a random permutation of the indices (N,)."""
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))

    def sample(self, n: int | None, seed: int) -> "Encoded":
        """Return `n` examples drawn without replacement; all if n is None or exceeds N."""
        if n is None or n >= len(self):
            return self
        sample = self.select(self.order(seed)[:n])
        if self.saved is None or self.saved[1] is not None:
            return sample
        return replace(sample, saved=(self.saved[0], n, seed))

    def outside_sample(self, n: int | None, seed: int) -> "Encoded | None":
        """Return up to `n` examples that are not in `sample`; None if it has all."""
        return None if n is None or n >= len(self) else self.select(self.order(seed)[n : 2 * n])

    def token_sample(self, tokens: int, seed: int) -> Tensor:
        """Draw examples until they have `tokens` tokens in all; return their indices (n,).

        At least one; the last one is complete. All in their own order if there are no more tokens.
        A larger sample extends a smaller one of the same seed.
        """
        sizes = self.lengths.long()
        if self.seq2seq:
            sizes = sizes + (self.labels != IGNORED).sum(1)
        if int(sizes.sum()) <= tokens:
            return torch.arange(len(self))
        order = self.order(seed)
        before = sizes[order].cumsum(0) - sizes[order]
        return order[before < tokens]

    def batch(self, indices: Tensor | slice) -> dict[str, Tensor]:
        """Return examples as keyword arguments of a transformers model, trimmed to the longest."""
        lengths = self.lengths[indices]
        width = int(lengths.max())
        ids = self.input_ids[indices, :width].long()
        labels, out = self.labels[indices], width
        if self.seq2seq:
            used = (labels != IGNORED).any(0)
            out = int(used.nonzero().max()) + 1 if used.any() else 1
        mask = torch.arange(width) < lengths[:, None]
        return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels[:, :out].long()}

    def batches(self, max_tokens: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield all examples once, sorted by length, as (indices, batch).

        A batch has at most `max_tokens` tokens, including padding; a longer example is a batch of
        its own.
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
        """Concatenate the examples of all parts, padded to the longest."""

        def joined(tensors: list[Tensor], value: int) -> Tensor:
            width = max(tensor.shape[1] for tensor in tensors)
            return torch.cat([F.pad(t, (0, width - t.shape[1]), value=value) for t in tensors])

        return Encoded(
            joined([part.input_ids for part in parts], 0),
            joined([part.labels for part in parts], IGNORED),
            torch.cat([part.lengths for part in parts]),
            parts[0].seq2seq,
        )

    def save(self, folder: Path) -> None:
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        save_file(tensors, folder / _FILE, metadata={"seq2seq": str(int(self.seq2seq))})

    @staticmethod
    def load(folder: Path) -> "Encoded":
        with safe_open(folder / _FILE, "pt") as file:
            ids, labels, lengths = map(file.get_tensor, _TENSORS)
            seq2seq = file.metadata()["seq2seq"] == "1"
            return Encoded(ids, labels, lengths, seq2seq, saved=(folder, None, 0))


def _load_sample(folder: Path, n: int | None, seed: int) -> Encoded:
    return Encoded.load(folder).sample(n, seed)


def pad(inputs: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], seq2seq: bool) -> Encoded:
    """Pad N token lists of inputs and labels to an `Encoded`; the padding token is 0 and masked."""

    def table(rows: Sequence[Sequence[int]], value: int) -> Tensor:
        tensors = [torch.tensor(row, dtype=torch.int32) for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=value)

    lengths = torch.tensor([len(row) for row in inputs], dtype=torch.int32)
    return Encoded(table(inputs, 0), table(labels, IGNORED), lengths, seq2seq)


def cut(context: list[int], target: list[int], room: int) -> tuple[list[int], list[int]]:
    """Truncate to `room` tokens, on the left of the context, then on the right of the target."""
    target = target[:room]
    return context[max(0, len(context) + len(target) - room) :], target
