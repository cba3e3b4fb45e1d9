"""A batch in micro-batches that fit in memory, dealt out to the processes of a run.

The micro-batches' gradients, weighted as here, add up to the gradient of the whole batch: over
Lightning's accumulation, which averages, and over its processes, which average too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from untrac_exp.data.encoding import Encoded


class MicroBatch(NamedTuple):
    """One process' part of a batch for one forward and backward pass.

    inputs: keyword arguments of the model. indices: (B,) which examples of the dataset.
    tokens: weight of this micro-batch in a mean over the batch's tokens.
    step: which batch this is, from 0. part: which of its `parts` micro-batches, over all processes.
    """

    inputs: dict[str, Tensor]
    indices: Tensor
    tokens: float
    step: int
    part: int
    parts: int


@dataclass(frozen=True)
class MicroBatches:
    """`batch_size` examples a step, `micro_batch_size` at once, over `world` processes."""

    batch_size: int
    micro_batch_size: int
    rank: int = 0
    world: int = 1

    @property
    def per_process(self) -> int:
        """Micro-batches each process works through in a step."""
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
    """How many examples of `data` can be read at once within `max_tokens` padded tokens."""
    longest = data.input_ids.shape[1] + (data.labels.shape[1] if data.seq2seq else 0)
    return max(1, min(batch_size, max_tokens // longest))
