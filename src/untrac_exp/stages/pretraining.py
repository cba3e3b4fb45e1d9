"""Pretraining for a fixed number of steps on a mixture of corpora; resumes from checkpoints."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from safetensors.torch import save_model
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.order import batches
from untrac_exp.models.loss import TOKENS, Averaging, mean_loss
from untrac_exp.runtime import processes
from untrac_exp.runtime.progress import Progress
from untrac_exp.stages import sharding
from untrac_exp.stages.micro_batches import MicroBatch, micro_batches, number_per_process
from untrac_exp.stages.resuming import BesideTarget, resumable
from untrac_exp.stages.schedule import CONSTANT, Schedule
from untrac_exp.stages.trainer import TrainerSettings, discard, exit_on_sigterm

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
LOSS_FILE = "loss.csv"
_RESUME = "last.ckpt"


class OptimizerFactory(Protocol):
    """An optimizer with its options bound, such as a partial `torch.optim.Adam`."""

    def __call__(self, params: Any) -> Optimizer: ...


@dataclass(frozen=True)
class PretrainingSettings:
    """How models are trained on the mixture; the `pretraining` keys.

    Attributes:
        steps: optimizer steps; 0 uses the model untrained.
        batch_size: sequences per step.
        optimizer: factory of the optimizer.
        clip: largest gradient norm; 0 for no clipping.
        checkpoint_every: steps between checkpoints, for resuming and for TracIn.
        schedule: learning-rate schedule.
    """

    steps: int
    batch_size: int
    optimizer: OptimizerFactory
    clip: float
    checkpoint_every: int
    schedule: Schedule = CONSTANT

    def __post_init__(self) -> None:
        for name in ("batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"pretraining.{name}={getattr(self, name)} must be at least 1")
        if self.steps < 0:
            raise ValueError(
                f"pretraining.steps={self.steps} must be at least 1 (or 0, for the model as it is)"
            )
        if self.clip < 0:
            raise ValueError(f"pretraining.clip={self.clip} must not be negative (0 turns it off)")
        if self.steps:
            self.schedule(0, self.steps)  # raises where it does not fit


class Pretraining(lightning.LightningModule):
    """Minimises the loss per token of each batch of the mixture.

    Args:
        model: the model, in training mode.
        data: the mixture, N sequences.
        settings: batch size, optimizer, clipping and schedule.
        seed: seed of the data order and of dropout.
        keep: (N,) bool, sequences to train on; None for all.
        averaging: how the losses of micro-batches are averaged.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        data: Encoded,
        settings: PretrainingSettings,
        seed: int,
        keep: Tensor | None = None,
        averaging: Averaging = TOKENS,
    ) -> None:
        super().__init__()
        self.model, self.data, self.settings, self.seed = model, data, settings, seed
        self.keep, self.averaging = keep, averaging
        self.losses: list[float] = []
        """Loss of each step so far, in nats per token."""
        self._micro_losses: list[Tensor] = []
        batch_size = min(settings.batch_size, len(data))
        tokens = batch_size * data.read / len(data)
        self.flops_per_step = 6 * model.num_parameters() * tokens

    def configure_model(self) -> None:
        if self.device_mesh is not None:
            sharding.shard(self.model, self.device_mesh["data_parallel"])

    def train_dataloader(self) -> Any:
        trainer = self.trainer
        order = batches(
            len(self.data), self.settings.batch_size, self.seed, self.keep, trainer.global_step
        )
        return micro_batches(
            self.data, order, trainer.accumulate_grad_batches,
            trainer.global_rank, trainer.world_size, self.averaging,
        )  # fmt: skip

    def training_step(self, batch: MicroBatch, batch_idx: int) -> Tensor:
        seed_dropout(self.device, self.seed, self.trainer.global_step, batch.part)
        loss = mean_loss(self.model, batch.inputs) * batch.weight
        self._micro_losses.append(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        loss = float(self.trainer.strategy.reduce(torch.stack(self._micro_losses).mean()))
        self._micro_losses.clear()
        step = len(self.losses) + 1
        _check_finite(loss, step)
        self.losses.append(loss)
        if self.logger is not None:
            rate, flops = optimizer.param_groups[0]["lr"], step * self.flops_per_step
            self.logger.log_metrics({"loss": loss, "rate": rate, "flops": flops}, step)
        # not by the trainer, which refuses fused optimizers in bf16-mixed, though only float16
        # needs its loss scaled
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.clip)

    def configure_optimizers(self) -> Any:
        optimizer = self.settings.optimizer(self.model.parameters())
        factor = partial(self.settings.schedule, total=self.settings.steps)
        scheduler = {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["losses"] = list(self.losses)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.losses = list(checkpoint["losses"])


def seed_dropout(device: torch.device, seed: int, step: int, part: int) -> None:
    """Seed the dropout of micro-batch `part` of a step.

    It is independent of previous draws, so a resumed run has the same dropout as an uninterrupted
    one, and a counterfactual model the same as θ0 if their batches have equal shapes, as those of
    packed corpora do.
    """
    entropy = (seed % 2**64, step, part)
    # torch.manual_seed also prepares the generators of devices that are not used, which is slow
    generator = torch.default_generator if device.type == "cpu" else torch
    generator.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))


@torch.no_grad()
def _loss(model: PreTrainedModel, batch: dict[str, Tensor]) -> float:
    with torch.compiler.set_stance("force_eager"):
        return float(mean_loss(model, batch))


def _check_finite(loss: float, step: int) -> None:
    if not loss < float("inf"):
        raise ValueError(
            f"pretraining diverged: the loss is {loss} at step {step}; "
            "lower pretraining.optimizer.lr"
        )


class _KeepWeights(Callback):
    """Saves the weights to `folder` every `every` steps, for TracIn."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object
    ) -> None:
        step = trainer.global_step
        if not step or step % self.every:
            return
        model = sharding.whole(module.model)
        if trainer.is_global_zero:
            path = self.folder / f"{step:08d}.safetensors"
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_suffix(".tmp")
            save_model(model, str(temporary))
            temporary.rename(path)


class _ShowProgress(Callback):
    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.progress = Progress(self.label, trainer.max_steps, trainer.global_step)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object
    ) -> None:
        if module.losses:
            self.progress(trainer.global_step, f", loss {module.losses[-1]:.3f}")


def pretrain(
    model: PreTrainedModel,
    data: Encoded,
    settings: PretrainingSettings,
    trainer: TrainerSettings,
    out: Path,
    *,
    seed: int,
    keep: Tensor | None = None,
    logger: Any = False,
    label: str = "pretraining",
) -> None:
    """Train `model` in place and save weights, the loss of each step and checkpoints to `out`.

    If `out` has the checkpoint of an interrupted run, training resumes from it with the same result
    as an uninterrupted run.

    Args:
        model: the model with its initial weights.
        data: the mixture, N sequences.
        settings: steps, batch size, optimizer and schedule.
        trainer: device, precision and memory.
        out: folder of the results.
        seed: seed of the data order and of dropout.
        keep: (N,) bool, sequences to train on, of a counterfactual model, whose checkpoints are not
            kept; None for all.
        logger: a Lightning logger, or False.
        label: what the log lines call this training.

    Raises:
        ValueError: the loss is not finite, also after the last step.
    """
    out.mkdir(parents=True, exist_ok=True)
    if trainer.compile:
        model.compile()  # in place: its weights keep their names
    module = Pretraining(model.train(), data, settings, seed, keep, trainer.loss)
    resume = out / _RESUME
    checkpoint = processes.broadcast(resumable(resume) if processes.is_first() else None)
    if checkpoint:
        log.info("%s: resuming from %s", label, checkpoint)
    callbacks: list[Callback] = [
        ModelCheckpoint(
            out,
            filename="last",
            every_n_train_steps=settings.checkpoint_every,
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        ),
        _ShowProgress(label),
    ]
    if keep is None:
        callbacks.append(_KeepWeights(out / CHECKPOINTS, settings.checkpoint_every))
    batch_size = min(settings.batch_size, len(data) if keep is None else int(keep.sum()))
    fitter = trainer.build(
        **({"strategy": sharding.strategy()} if trainer.shard else {}),
        max_steps=settings.steps,
        max_epochs=-1,
        accumulate_grad_batches=number_per_process(
            data, batch_size, trainer.max_tokens, trainer.loss
        ),
        callbacks=callbacks,
        plugins=[BesideTarget()],
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
    )
    with exit_on_sigterm():
        fitter.fit(module, ckpt_path=checkpoint, weights_only=True)
    discard(fitter)
    trained = sharding.whole(model.eval())
    # the losses so far are those before each step
    one = 0 if keep is None else int(keep.nonzero()[0])
    last = _loss(trained, data.batch(torch.tensor([one]))) if processes.is_first() else 0.0
    _check_finite(processes.broadcast(last), settings.steps)
    if not processes.is_first():
        return
    trained.save_pretrained(out / "model")
    losses = pd.DataFrame({"step": range(1, len(module.losses) + 1), "loss": module.losses})
    losses.to_csv(out / LOSS_FILE, index=False)
    for file in out.glob(f"{resume.stem}.*"):  # also one that was cut short
        file.unlink()
