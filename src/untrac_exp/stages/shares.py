"""A batch in shares that fit in memory, dealt out to the processes of a run.

The shares' gradients, weighted as here, add up to the gradient of the whole batch: over Lightning's
accumulation, which averages, and over its processes, which average too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from untrac_exp.data.encoding import Encoded


class Share(NamedTuple):
    """One process' part of a batch for one forward and backward pass.

    inputs: keyword arguments of the model. indices: (B,) which examples of the dataset.
    tokens: weight of this share in a mean over the batch's tokens.
    step: which batch this is, from 0. part: which of its `parts` shares, over all processes.
    """

    inputs: dict[str, Tensor]
    indices: Tensor
    tokens: float
    step: int
    part: int
    parts: int


@dataclass(frozen=True)
class Sharing:
    """`batch_size` examples a step, `micro_batch_size` at once, over `world` processes."""

    batch_size: int
    micro_batch_size: int
    rank: int = 0
    world: int = 1

    @property
    def per_process(self) -> int:
        """Shares each process works through in a step."""
        return max(1, -(-self.batch_size // (self.micro_batch_size * self.world)))

    def __call__(self, data: Encoded, batches: Iterable[Tensor]) -> Iterator[Share]:
        for step, batch in enumerate(batches):
            scored = data.scored[batch]
            n = self.per_process * self.world
            if len(batch) < n:
                raise ValueError(
                    f"a batch of {len(batch)} examples cannot be shared by {self.world} processes; "
                    "raise the batch size or lower trainer.devices"
                )
            positions = batch.new_tensor(range(len(batch))).tensor_split(n)
            for part in range(self.rank, n, self.world):
                where = positions[part]
                yield Share(
                    inputs=data.batch(batch[where]),
                    indices=batch[where],
                    tokens=int(scored[where].sum()) / int(scored.sum()) * n,
                    step=step,
                    part=part,
                    parts=n,
                )


def fitting(data: Encoded, batch_size: int, max_tokens: int) -> int:
    """How many examples of `data` can be read at once within `max_tokens` padded tokens."""
    longest = data.input_ids.shape[1] + (data.labels.shape[1] if data.seq2seq else 0)
    return max(1, min(batch_size, max_tokens // longest))
