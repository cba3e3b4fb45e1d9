"""Unlearning: a few optimizer steps that raise the loss on one dataset, watched on a schedule."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Self

import lightning
import numpy as np
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.order import batches
from untrac_exp.stages.compiling import compiled, fitting, keep_gradients
from untrac_exp.stages.micro_batches import MicroBatch, MicroBatches
from untrac_exp.stages.pretraining import OptimizerFactory
from untrac_exp.stages.trainer import Stream, TrainerSettings

StepLoss = Callable[[PreTrainedModel, MicroBatch], Tensor]
"""The scalar whose gradient a step descends; averaged over micro-batches it is the batch's."""

Observer = Callable[[int], bool]
"""Called with the number of steps taken; what it returns says whether to stop."""

_FINER = 1.25
"""Ratio of the steps between two readings of the forget-set loss, where it decides when to stop."""


@dataclass(frozen=True)
class Stopping:
    """When unlearning ends: after `steps`, or `epochs` over the dataset, whichever is given.

    own_loss_rise: end earlier, once the forget-set loss has risen by so many nats per token; the
    answer then is the one at exactly this rise, so that datasets are compared at equal forgetting.
    probe: examples of that dataset, drawn once, whose loss stands for its own.
    evaluations: how often the test sets are read on the way, at steps spaced evenly on a
    logarithmic scale, the last among them.
    """

    steps: int | None = None
    epochs: float | None = None
    own_loss_rise: float | None = None
    evaluations: int = 8
    probe: int = 32

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("stopping: give either steps or epochs, and set the other to null")
        for name in ("steps", "epochs", "own_loss_rise"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"stopping.{name}={value} must be positive")
        for name in ("evaluations", "probe"):
            if getattr(self, name) < 1:
                raise ValueError(f"stopping.{name}={getattr(self, name)} must be at least 1")

    def limit(self, n: int, batch_size: int) -> int:
        """Most steps taken over `n` examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * n / min(batch_size, n)))

    def schedule(self, limit: int) -> list[int]:
        """The steps after which the test sets are read."""
        return np.unique(np.geomspace(limit, 1, self.evaluations).round().astype(int)).tolist()

    def readings(self, limit: int) -> list[int]:
        """The steps after which the forget-set loss is read: those of the schedule.

        With `own_loss_rise` also steps between them, each at most a quarter (or one step) further
        than the one before.
        """
        if self.own_loss_rise is None:
            return self.schedule(limit)
        steps = [1]
        while steps[-1] < limit:
            steps.append(max(steps[-1] + 1, int(steps[-1] * _FINER)))
        return sorted({*steps[:-1], *self.schedule(limit), limit})


class Unlearning(lightning.LightningModule):
    """Takes the steps of one objective on one dataset. No clipping: the paper has none here.

    What the trainer takes for a batch is a stretch of steps between two readings: its bookkeeping
    around every batch costs a tenth of a small model's step.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        passes: PreTrainedModel,
        loss: StepLoss,
        optimizer: OptimizerFactory,
        micro_batches: Iterator[MicroBatch],
        per_step: int,
        observe: Observer,
        readings: Sequence[int],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.loss, self.optimizer_factory = model, loss, optimizer
        self.passes = (passes,)  # no module of its own: its weights are the model's
        self.micro_batches, self.per_step = micro_batches, per_step
        self.observe, self.readings = observe, readings

    def train_dataloader(self) -> Any:
        return Stream(stop - start for start, stop in pairwise([0, *self.readings]))

    def training_step(self, steps: int, index: int) -> None:
        """As many steps, each after the backward passes of its micro-batches."""
        optimizer = self.optimizers()
        # the trainer's backward tells all callbacks of every step, who do not care
        backward = Tensor.backward
        if self.trainer.world_size > 1:
            backward = self.manual_backward
        (passes,) = self.passes
        for _ in range(steps):
            for i, micro_batch in enumerate(islice(self.micro_batches, self.per_step)):
                loss = self.loss(passes, micro_batch)
                backward(loss / self.per_step if self.per_step > 1 else loss)
                if i == 0 and self.per_step > 1:
                    keep_gradients(passes)
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer_factory([p for p in self.model.parameters() if p.requires_grad])

    def cpu(self) -> Self:
        """Does nothing: the trainer would take the model off its device, and it is used there."""
        return self

    def on_train_batch_end(self, *_: object) -> None:
        self.trainer.should_stop = self.observe(self.trainer.global_step)


def unlearn(
    model: PreTrainedModel,
    data: Encoded,
    loss: StepLoss,
    *,
    optimizer: OptimizerFactory,
    batch_size: int,
    max_tokens: int,
    stopping: Stopping,
    seed: int,
    trainer: TrainerSettings,
    observe: Observer,
) -> None:
    """Unlearn `data` in place, in evaluation mode (no dropout), with a fresh optimizer.

    Batches are drawn in an order set by `seed`, epoch after epoch; a batch of more than
    `max_tokens` padded tokens goes through in micro-batches, to the same gradient. `observe` is
    called at the steps of `stopping.readings`. Restoring θ0 is the caller's business. With
    `trainer.compile` the steps, and only they, run compiled; see `stages.compiling`.
    """
    device = model.device
    passes = compiled(model, trainer.compile)
    batch_size = min(batch_size, len(data))
    limit = stopping.limit(len(data), batch_size)
    lightning_trainer = trainer.build(barebones=True, max_steps=limit, max_epochs=-1)
    cut = MicroBatches(
        batch_size,
        fitting(passes, data, batch_size, max_tokens),
        lightning_trainer.global_rank,
        lightning_trainer.world_size,
    )
    micro_batches = cut(data, batches(len(data), batch_size, seed))
    readings = stopping.readings(limit)
    module = Unlearning(
        model, passes, loss, optimizer, micro_batches, cut.per_process, observe, readings
    )
    lightning_trainer.fit(module)
    model.to(device)
