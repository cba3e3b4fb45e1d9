"""Unlearning: optimizer steps that raise the forget-set loss, with scheduled evaluations."""

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
from untrac_exp.models.weights import parameters
from untrac_exp.stages.compiling import compiled, fitting, keep_gradients
from untrac_exp.stages.micro_batches import MicroBatch, MicroBatches
from untrac_exp.stages.pretraining import OptimizerFactory
from untrac_exp.stages.trainer import Stream, TrainerSettings

StepLoss = Callable[[PreTrainedModel, MicroBatch], Tensor]
"""Scalar loss that a step minimises; its mean over micro-batches is the batch's loss."""

Observer = Callable[[int], bool]
"""Called with the number of steps taken; returns whether to stop."""

_FINER = 1.25
"""Ratio of successive steps at which the forget-set loss is evaluated, if it decides the stop."""


@dataclass(frozen=True)
class Stopping:
    """When unlearning ends.

    Args:
        steps: maximum number of steps; give either `steps` or `epochs`.
        epochs: maximum number of epochs over the forget set.
        own_loss_rise: rise of the forget-set loss, in nats per token, at which to stop. Results are
            interpolated to exactly this rise, so datasets are compared at equal forgetting.
        evaluations: number of evaluations, at logarithmically spaced steps including the last.
        probe: number of forget-set examples on which the forget-set loss is estimated.

    Raises:
        ValueError: an argument is out of range, or not exactly one of steps and epochs is given.
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
        """Return the maximum number of steps for `n` examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * n / min(batch_size, n)))

    def schedule(self, limit: int) -> list[int]:
        """Return the steps after which the datasets are evaluated."""
        return np.unique(np.geomspace(limit, 1, self.evaluations).round().astype(int)).tolist()

    def readings(self, limit: int) -> list[int]:
        """Return the steps after which the forget-set loss is evaluated, including the schedule.

        With `own_loss_rise` further steps, each at most a quarter (or one step) after the previous
        one.
        """
        if self.own_loss_rise is None:
            return self.schedule(limit)
        steps = [1]
        while steps[-1] < limit:
            steps.append(max(steps[-1] + 1, int(steps[-1] * _FINER)))
        return sorted({*steps[:-1], *self.schedule(limit), limit})


class Unlearning(lightning.LightningModule):
    """Runs the steps of an objective on a forget set, without gradient clipping, as in the paper.

    A batch of the trainer is all steps between two evaluations, because its overhead per batch is a
    tenth of a small model's step.
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
        self.passes = (passes,)  # a tuple, so that it is not registered as a submodule
        self.micro_batches, self.per_step = micro_batches, per_step
        self.observe, self.readings = observe, readings

    def train_dataloader(self) -> Any:
        return Stream(stop - start for start, stop in pairwise([0, *self.readings]))

    def training_step(self, steps: int, index: int) -> None:
        """Take `steps` optimizer steps, each after the backward passes of its micro-batches."""
        optimizer = self.optimizers()
        # the trainer's backward calls hooks at each step, which are not needed here
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
        return self.optimizer_factory(parameters(self.model))

    def cpu(self) -> Self:
        """Do nothing: the trainer would move the model to the CPU after the fit."""
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
    """Unlearn `data` in place, in evaluation mode (no dropout), with a new optimizer.

    The caller restores θ0. With `trainer.compile` only the steps are compiled, not the evaluations;
    see `stages.compiling`.

    Args:
        model: the model at θ0.
        data: the forget set.
        loss: the objective's step loss.
        optimizer: creates the optimizer.
        batch_size: examples per step.
        max_tokens: maximum number of tokens per micro-batch, including padding.
        stopping: when to stop and evaluate.
        seed: seed of the batches' order.
        trainer: device and precision.
        observe: called at the steps of `stopping.readings`.
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
