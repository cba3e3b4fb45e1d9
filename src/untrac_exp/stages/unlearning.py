"""Unlearning: optimizer steps that raise the forget-set loss, with scheduled evaluations."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.order import batches
from untrac_exp.models.loss import TOKENS, Averaging
from untrac_exp.models.weights import parameters
from untrac_exp.stages.micro_batches import MicroBatch, micro_batches, number_per_process
from untrac_exp.stages.pretraining import OptimizerFactory, seed_dropout
from untrac_exp.stages.schedule import CONSTANT, Schedule
from untrac_exp.stages.trainer import TrainerSettings, discard, exit_on_sigterm

StepLoss = Callable[[PreTrainedModel, MicroBatch], Tensor]
"""Scalar loss that a step minimises; its mean over micro-batches is the batch's loss."""


@dataclass(frozen=True)
class Stopping:
    """When unlearning ends.

    Args:
        steps: number of steps; give either `steps` or `epochs`.
        epochs: number of epochs over the forget set.
        evaluations: number of evaluations, at logarithmically spaced steps including the last.
        every: evaluate after each `every` steps and the last instead.
        probe: number of forget-set examples on which the forget-set loss is estimated.

    Raises:
        ValueError: an argument is out of range, or not exactly one of steps and epochs is given.
    """

    steps: int | None = None
    epochs: float | None = None
    evaluations: int = 8
    every: int | None = None
    probe: int = 32

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("stopping: give either steps or epochs, and set the other to null")
        for name in ("steps", "epochs"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"stopping.{name}={value} must be positive")
        for name in ("evaluations", "every", "probe"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"stopping.{name}={value} must be at least 1")

    def limit(self, n: int, batch_size: int) -> int:
        """Return the number of steps for `n` examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * n / min(batch_size, n)))

    def schedule(self, limit: int) -> list[int]:
        """Return the steps after which the datasets are evaluated."""
        if self.every is not None:
            return [*range(self.every, limit, self.every), limit]
        return np.unique(np.geomspace(limit, 1, self.evaluations).round().astype(int)).tolist()


class Unlearning(lightning.LightningModule):
    """Minimises an objective on batches of a forget set, without gradient clipping (as the paper).

    Args:
        model: the model at θ0, in evaluation mode.
        data: the forget set.
        loss: the objective's step loss.
        optimizer: creates the optimizer.
        batch_size: examples per step, at most all.
        seed: seed of the batches' order and of dropout.
        averaging: how the losses of micro-batches are averaged.
        dropout: take the steps in training mode. Between them the model is in evaluation mode.
        keep: (N,) bool, examples to use, in the order that all would have; None for all.
        schedule: of the learning rate.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        data: Encoded,
        loss: StepLoss,
        optimizer: OptimizerFactory,
        batch_size: int,
        seed: int,
        averaging: Averaging = TOKENS,
        dropout: bool = False,
        keep: Tensor | None = None,
        schedule: Schedule = CONSTANT,
    ) -> None:
        super().__init__()
        self.model, self.data, self.loss = model, data, loss
        self.optimizer_factory, self.seed = optimizer, seed
        self.batch_size = min(batch_size, len(data))
        self.averaging, self.dropout, self.keep = averaging, dropout, keep
        self.schedule = schedule

    def train_dataloader(self) -> Any:
        trainer = self.trainer
        return micro_batches(
            self.data, batches(len(self.data), self.batch_size, self.seed, self.keep),
            trainer.accumulate_grad_batches, trainer.global_rank, trainer.world_size,
            self.averaging,
        )  # fmt: skip

    def training_step(self, batch: MicroBatch, batch_idx: int) -> Tensor:
        if self.dropout:
            self.model.train()
            seed_dropout(self.device, self.seed, batch.step, batch.part)
        return self.loss(self.model, batch)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.dropout:
            self.model.eval()  # for the evaluations between steps

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(parameters(self.model))
        if self.schedule == CONSTANT:
            return optimizer
        factor = partial(self.schedule, total=self.trainer.max_steps)
        scheduler = {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


class ScheduledEvaluations(Callback):
    """Evaluates at θ0 and during unlearning as `stopping` says.

    Args:
        stopping: the schedule.
        limit: number of steps.
        forget_loss: returns the loss of a sample of the forget set, in nats per token.
        evaluate: evaluates the datasets.
        name: of the forget set, for error messages.

    Attributes:
        steps: (S,) steps after which the datasets were evaluated; evaluated: what `evaluate` gave.
        own_losses: (S + 1,) losses of the forget set at θ0 and after `steps`; seconds: (S + 1,)
            since the start.
    """

    def __init__(
        self,
        stopping: Stopping,
        limit: int,
        forget_loss: Callable[[], float],
        evaluate: Callable[[], Any],
        name: str,
    ) -> None:
        self.forget_loss, self.evaluate, self.name = forget_loss, evaluate, name
        self.schedule = stopping.schedule(limit)
        self.steps: list[int] = []
        self.evaluated: list[Any] = []
        self.own_losses: list[float] = []
        self.seconds: list[float] = []

    def on_train_start(self, trainer: lightning.Trainer, *_: object) -> None:
        self.started = time.monotonic()
        self._evaluate_forget_set(0)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        step = trainer.global_step  # also the step of the next batch's first micro-batches
        if step not in self.schedule or step in self.steps:
            return
        self._evaluate_forget_set(step)
        self.steps.append(step)
        self.evaluated.append(self.evaluate())

    def _evaluate_forget_set(self, step: int) -> None:
        """Record the forget-set loss."""
        loss = self.forget_loss()
        if not math.isfinite(loss):
            raise ValueError(
                f"unlearning '{self.name}' diverged: its loss is {loss} at step {step}; "
                "lower optimizer.lr"
            )
        self.own_losses.append(loss)
        self.seconds.append(time.monotonic() - self.started)


def unlearn(
    module: Unlearning,
    *,
    steps: int,
    max_tokens: int,
    trainer: TrainerSettings,
    callbacks: Iterable[Callback] = (),
) -> None:
    """Minimise a loss in place with a new optimizer; the model ends in evaluation mode.

    The caller restores θ0. The trainer adds about 0.8 ms to a step (`experiments.overhead`): a
    quarter for a model of 0.2 million parameters, and 2 % for one of 4 million.

    Args:
        module: the model, the forget set and the objective's step loss.
        steps: number of steps.
        max_tokens: maximum number of tokens per micro-batch, including padding.
        trainer: device and precision.
        callbacks: of the trainer, such as `ScheduledEvaluations`.
    """
    model, data = module.model, module.data
    device = model.device
    if trainer.compile and int(data.lengths.min()) == int(data.lengths.max()):
        module.model = torch.compile(model)
    accumulated = number_per_process(data, module.batch_size, max_tokens, module.averaging)
    fitter = trainer.build(
        barebones=True,
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=accumulated,
        callbacks=list(callbacks),
    )
    with exit_on_sigterm():
        fitter.fit(module)
    discard(fitter)
    model.to(device)
