"""Pretraining for a fixed number of steps on a mixture of corpora; resumes from checkpoints."""

import csv
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from safetensors.torch import save_model
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.order import batches
from untrac_exp.models.loss import mean_loss
from untrac_exp.runtime import processes
from untrac_exp.runtime.progress import Progress
from untrac_exp.stages import sharding
from untrac_exp.stages.micro_batches import MicroBatch, MicroBatches
from untrac_exp.stages.schedule import CONSTANT, Schedule
from untrac_exp.stages.trainer import Stream, TrainerSettings

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
LOSS_FILE = "loss.csv"
_RESUME = "last.ckpt"


class OptimizerFactory(Protocol):
    """An optimizer with its options bound, such as a partial `torch.optim.Adam`."""

    def __call__(self, params: Any) -> Optimizer: ...


@dataclass(frozen=True)
class PretrainingRun:
    """Settings of one training run.

    data: the mixture, N sequences. keep: (N,) bool, sequences to train on; None for all.
    batch_size: sequences per step. micro_batch_size: sequences per forward pass. seed: seed of the
    data order and of dropout.
    """

    data: Encoded
    keep: Tensor | None
    steps: int
    batch_size: int
    micro_batch_size: int
    optimizer: OptimizerFactory
    clip: float
    seed: int
    checkpoint_every: int
    keep_checkpoints: bool
    schedule: Schedule = CONSTANT


class Pretraining(lightning.LightningModule):
    """Minimises the loss per token of each batch of the mixture."""

    def __init__(self, model: PreTrainedModel, run: PretrainingRun, out: Path) -> None:
        super().__init__()
        self.model, self.run, self.out = model, run, out
        self.losses: list[float] = []
        self._micro: list[Tensor] = []
        tokens = run.batch_size * run.data.read / len(run.data)
        self.flops_per_step = 6 * model.num_parameters() * tokens

    def configure_model(self) -> None:
        if self.device_mesh is not None:
            sharding.shard(self.model, self.device_mesh["data_parallel"])

    def train_dataloader(self) -> Any:
        run, trainer = self.run, self.trainer
        order = batches(len(run.data), run.batch_size, run.seed, run.keep, skip=trainer.global_step)
        cut = MicroBatches(
            run.batch_size, run.micro_batch_size, trainer.global_rank, trainer.world_size
        )
        return Stream(cut(run.data, order))

    def training_step(self, micro_batch: MicroBatch, index: int) -> Tensor:
        seed = _seed(self.run.seed, self.trainer.global_step, micro_batch.part)
        # torch.manual_seed also prepares the generators of devices that are not used, which is slow
        generator = torch.default_generator if self.device.type == "cpu" else torch
        generator.manual_seed(seed)
        loss = mean_loss(self.model, micro_batch.inputs) * micro_batch.tokens
        self._micro.append(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        loss = float(self.trainer.strategy.reduce(torch.stack(self._micro).mean()))
        self._micro.clear()
        step = len(self.losses) + 1
        if not loss < float("inf"):
            raise ValueError(
                f"pretraining diverged: the loss is {loss} at step {step}; "
                "lower pretraining.optimizer.lr"
            )
        self.losses.append(loss)
        if self.logger is not None:
            rate, flops = optimizer.param_groups[0]["lr"], step * self.flops_per_step
            self.logger.log_metrics({"loss": loss, "rate": rate, "flops": flops}, step)

    def configure_optimizers(self) -> Any:
        optimizer = self.run.optimizer(self.model.parameters())
        factor = partial(self.run.schedule, total=self.run.steps)
        scheduler = {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if gradient_clip_val and self.trainer.precision == "bf16-mixed":
            # Lightning rejects fused optimizers here too, though only float16 needs loss scaling
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["losses"] = list(self.losses)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.losses = list(checkpoint["losses"])


def _seed(train_seed: int, step: int, part: int) -> int:
    """Return the dropout seed of a micro-batch.

    It is independent of previous draws, so a resumed run has the same dropout as an uninterrupted
    one, and a counterfactual model the same as θ0 if their batches have equal shapes, as those of
    packed corpora do.
    """
    entropy = (train_seed % 2**64, step, part)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


class _KeepWeights(Callback):
    """Saves the weights during training, for TracIn."""

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Pretraining, *_: object
    ) -> None:
        step, every = trainer.global_step, module.run.checkpoint_every
        path = module.out / CHECKPOINTS / f"{step:08d}.safetensors"
        if not step or step % every:
            return
        model = sharding.whole(module.model)
        if trainer.is_global_zero:
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_suffix(".tmp")
            save_model(model, str(temporary))
            temporary.rename(path)


class _ShowProgress(Callback):
    def on_train_start(self, trainer: lightning.Trainer, module: Pretraining) -> None:
        self.progress = Progress("pretraining", module.run.steps, trainer.global_step)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Pretraining, *_: object
    ) -> None:
        if module.losses:
            self.progress(trainer.global_step, f", loss {module.losses[-1]:.3f}")


def pretrain(
    model: PreTrainedModel,
    run: PretrainingRun,
    trainer: TrainerSettings,
    out: Path,
    logger: Any = False,
) -> None:
    """Train `model` in place and save weights, the loss of each step and checkpoints to `out`.

    If `out` has the checkpoint of an interrupted run, training resumes from it with the same result
    as an uninterrupted run. `logger` is a Lightning logger, or False.

    Raises:
        ValueError: the loss is not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    if trainer.compile:
        model.compile()  # in place: its weights keep their names
    module = Pretraining(model.train(), run, out)
    resume = out / _RESUME
    left = processes.broadcast(str(resume) if resume.exists() else None)
    if left:
        log.info("resuming pretraining from %s", left)
    callbacks: list[Callback] = [
        ModelCheckpoint(
            out,
            filename="last",
            every_n_train_steps=run.checkpoint_every,
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        ),
        _ShowProgress(),
    ]
    if run.keep_checkpoints:
        callbacks.append(_KeepWeights())
    fitter = trainer.build(
        **({"strategy": sharding.strategy()} if trainer.shard else {}),
        max_steps=run.steps,
        max_epochs=-1,
        gradient_clip_val=run.clip or None,
        callbacks=callbacks,
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
    )
    fitter.accumulate_grad_batches = MicroBatches(
        run.batch_size, run.micro_batch_size, world=fitter.world_size
    ).per_process
    fitter.fit(module, ckpt_path=left, weights_only=True)
    trained = sharding.whole(model.eval())
    if not fitter.is_global_zero:
        return
    trained.save_pretrained(out / "model")
    with (out / LOSS_FILE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss"])
        writer.writerows(enumerate(module.losses, start=1))
    resume.unlink(missing_ok=True)
