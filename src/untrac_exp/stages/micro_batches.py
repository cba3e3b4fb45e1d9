"""Batches as micro-batches that fit in memory, distributed over processes.

Lightning averages gradients over accumulation steps and over processes. The weights given here make
this average equal to the gradient of the whole batch's loss per token, or of the mean of its
micro-batches' losses per token (`models.loss.Averaging`).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import TOKENS, Averaging
from untrac_exp.runtime import processes


class MicroBatch(NamedTuple):
    """Part of a batch for one forward and backward pass on one process.

    Attributes:
        inputs: keyword arguments of the model.
        indices: (B,) indices of the examples in the dataset, on the CPU.
        weight: scored tokens of the micro-batch over the mean of all micro-batches of the batch; 1
            if micro-batches are weighed equally.
        step: index of the batch, from 0.
        part: index of the micro-batch in its batch, over all processes.
        parts: number of micro-batches in the batch, over all processes.
    """

    inputs: dict[str, Tensor]
    indices: Tensor
    weight: float
    step: int
    part: int
    parts: int

    def to(self, device: torch.device) -> "MicroBatch":
        """Return the micro-batch with its inputs on `device`; called by the trainer."""
        return self._replace(inputs={name: x.to(device) for name, x in self.inputs.items()})


def micro_batches(
    data: Encoded,
    batches: Iterable[Tensor],
    per_process: int = 1,
    rank: int = 0,
    world: int = 1,
    loss: Averaging = TOKENS,
) -> Iterator[MicroBatch]:
    """Yield the micro-batches of process `rank` of `world`, `per_process` for each batch.

    Args:
        data: the dataset.
        batches: indices (B,) of the examples of each batch.
        per_process: `accumulate_grad_batches` of the trainer.
        rank: index of this process.
        world: number of processes.
        loss: how the losses of micro-batches are averaged.

    Raises:
        ValueError: a batch has fewer examples than micro-batches.
    """
    scored, n = data.scored, per_process * world
    for step, batch in enumerate(batches):
        if len(batch) < n:
            raise ValueError(
                f"a batch of {len(batch)} examples cannot be shared by {world} processes; "
                "raise the batch size or lower trainer.devices"
            )
        if n == 1:
            yield MicroBatch(data.batch(batch), batch, 1.0, step, 0, 1)
            continue
        total = int(scored[batch].sum())
        parts = batch.tensor_split(n)
        for part in range(rank, n, world):
            indices = parts[part]
            weight = 1.0 if loss.micro_batch else int(scored[indices].sum()) / total * n
            yield MicroBatch(data.batch(indices), indices, weight, step, part, n)


def fitting(data: Encoded, batch_size: int, max_tokens: int) -> int:
    """Return the largest micro-batch size within `max_tokens` tokens, including padding."""
    longest = data.input_ids.shape[1] + (data.labels.shape[1] if data.seq2seq else 0)
    return max(1, min(batch_size, max_tokens // longest))


def number_per_process(
    data: Encoded, batch_size: int, max_tokens: int, loss: Averaging = TOKENS
) -> int:
    """Return the number of micro-batches of each process per batch of `batch_size` examples."""
    size = loss.micro_batch or fitting(data, batch_size, max_tokens)
    return max(1, -(-batch_size // (size * processes.number())))
