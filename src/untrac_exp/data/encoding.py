"""Token sequences of a dataset as tensors."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

IGNORED = -100
"""The label of a token that is not scored."""


@dataclass(frozen=True)
class Encoded:
    """Token sequences of N examples as padded tensors.

    Attributes:
        input_ids: (N, L) int32, input of the model (of the encoder, if seq2seq).
        labels: (N, M) int32, scored tokens, `IGNORED` elsewhere. For a causal model M = L and the
            label of a token is at its own position, before the shift.
        lengths: (N,) int32, number of the L tokens that are not padding.
        seq2seq: whether the examples are for an encoder-decoder.
    """

    input_ids: Tensor
    labels: Tensor
    lengths: Tensor
    seq2seq: bool = False

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

    def sample(self, n: int | None, seed: int) -> "Encoded":
        """Return `n` examples drawn without replacement; all if n is None or exceeds N."""
        return self if n is None or n >= len(self) else self.select(self._order(seed)[:n])

    def beyond(self, n: int | None, seed: int) -> "Encoded | None":
        """Return up to `n` examples drawn after those of `sample`; None if there are none."""
        if n is None or n >= len(self):
            return None
        return self.select(self._order(seed)[n : 2 * n])

    def _order(self, seed: int) -> Tensor:
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))

    def batch(self, indices: Tensor | slice) -> dict[str, Tensor]:
        """Return examples as keyword arguments of a transformers model, trimmed to the longest."""
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
    """Pad N token lists of inputs and labels to an `Encoded`; the padding token is 0 and masked."""

    def table(rows: Sequence[Sequence[int]], value: int) -> Tensor:
        width = max(1, *(len(row) for row in rows)) if rows else 1
        out = torch.full((len(rows), width), value, dtype=torch.int32)
        for i, row in enumerate(rows):
            out[i, : len(row)] = torch.tensor(row, dtype=torch.int32)
        return out

    lengths = torch.tensor([len(row) for row in inputs], dtype=torch.int32)
    return Encoded(table(inputs, 0), table(labels, IGNORED), lengths, seq2seq)
