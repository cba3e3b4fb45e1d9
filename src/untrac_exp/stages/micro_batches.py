"""Split batches into micro-batches that fit in memory, distributed over processes.

Lightning averages gradients over accumulation steps and over processes. The weights given here make
this average equal to the gradient of the whole batch's loss per token.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from untrac_exp.data.encoding import Encoded


class MicroBatch(NamedTuple):
    """Part of a batch for one forward and backward pass on one process.

    Attributes:
        inputs: keyword arguments of the model.
        indices: (B,) indices of the examples in the dataset.
        tokens: weight of the micro-batch: its scored tokens over the mean of all micro-batches.
        step: index of the batch, from 0.
        part: index of the micro-batch in its batch, over all processes.
        parts: number of micro-batches in the batch, over all processes.
    """

    inputs: dict[str, Tensor]
    indices: Tensor
    tokens: float
    step: int
    part: int
    parts: int


@dataclass(frozen=True)
class MicroBatches:
    """Splits batches of `batch_size` examples into micro-batches, over `world` processes."""

    batch_size: int
    micro_batch_size: int
    rank: int = 0
    world: int = 1

    @property
    def per_process(self) -> int:
        """Number of micro-batches per process and step."""
        return max(1, -(-self.batch_size // (self.micro_batch_size * self.world)))

    def __call__(self, data: Encoded, batches: Iterable[Tensor]) -> Iterator[MicroBatch]:
        scored = data.scored
        n = self.per_process * self.world
        for step, batch in enumerate(batches):
            if n == 1:
                yield MicroBatch(data.batch(batch), batch, 1.0, step, 0, 1)
                continue
            if len(batch) < n:
                raise ValueError(
                    f"a batch of {len(batch)} examples cannot be shared by {self.world} processes; "
                    "raise the batch size or lower trainer.devices"
                )
            total = int(scored[batch].sum())
            parts = batch.tensor_split(n)
            for part in range(self.rank, n, self.world):
                indices = parts[part]
                weight = int(scored[indices].sum()) / total * n
                yield MicroBatch(data.batch(indices), indices, weight, step, part, n)


def fitting(data: Encoded, batch_size: int, max_tokens: int) -> int:
    """Return the largest micro-batch size within `max_tokens` tokens, including padding."""
    longest = data.input_ids.shape[1] + (data.labels.shape[1] if data.seq2seq else 0)
    return max(1, min(batch_size, max_tokens // longest))
