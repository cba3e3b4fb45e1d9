"""Settings of `lightning.Trainer`, shared by all stages."""

import logging
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import lightning
import torch
import transformers
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from untrac_exp.models.loss import TOKENS, Averaging

_PRECISIONS = ("32-true", "64-true", "bf16-mixed")
_HALF = "it casts the weights to 16 bits: θ0 is not restored exactly, and rounding hides influences"
_REFUSED = {
    "bf16-true": _HALF,
    "16-true": _HALF,
    "16-mixed": "float16 gradients vanish unless the loss is scaled, which methods do not do",
}


@dataclass(frozen=True)
class TrainerSettings:
    """Device, precision and memory settings; the `trainer` group.

    precision: 32-true, 64-true or bf16-mixed, as in `lightning.Trainer`; bf16-mixed applies to
    gradients, while losses are evaluated in the weights' dtype.
    max_tokens: maximum number of tokens per forward pass, including padding; larger batches are
    split into micro-batches.
    compile: use `torch.compile` for pretraining, and for unlearning of sequences of one length, as
    those of packed corpora are; all else runs eagerly.
    shard: shard weights, gradients and optimizer state over devices in pretraining (FSDP).
    Unlearning needs the whole model on each device.
    theta0_on_cpu: keep the copy of θ0 in host memory while a model is unlearned.
    loss: how losses of tokens are averaged.
    options: further arguments of `lightning.Trainer`.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    precision: str = "32-true"
    strategy: str = "auto"
    max_tokens: int = 4096
    compile: bool = False
    shard: bool = False
    theta0_on_cpu: bool = False
    loss: Averaging = TOKENS
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS:
            reason = _REFUSED.get(self.precision, "it is unknown")
            raise ValueError(
                f"trainer.precision={self.precision}: {reason}; use {', '.join(_PRECISIONS)}"
            )
        if self.max_tokens < 1:
            raise ValueError(f"trainer.max_tokens={self.max_tokens} must be at least 1")

    def build(self, **stage: Any) -> lightning.Trainer:
        """Create a trainer with these settings and those of the stage."""
        return lightning.Trainer(
            **{
                "accelerator": self.accelerator,
                "devices": self.devices,
                "precision": self.precision,
                "strategy": self.strategy,
                **self.options,
                **stage,
            }
        )

    @property
    def device(self) -> torch.device:
        """Device of the models."""
        try:
            return self.build(barebones=True).strategy.root_device
        except (MisconfigurationException, ModuleNotFoundError) as error:
            raise ValueError(
                f"trainer.accelerator={self.accelerator}: {error}; use trainer=cpu"
            ) from error

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the autocast context of gradients computed outside a trainer."""
        mixed = self.precision == "bf16-mixed"
        return torch.autocast(device.type, torch.bfloat16) if mixed else nullcontext()


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Exit with status 143 and a line on SIGTERM, which Lightning turns into an exit with 0."""
    try:
        yield
    except SIGTERMException:
        print("terminated; the same command goes on from here", file=sys.stderr)
        raise SystemExit(128 + signal.SIGTERM) from None


def discard(trainer: lightning.Trainer) -> None:
    """Free what a trainer holds: the model unless others have it, and the optimizer's state.

    It refers to itself, so this would stay until garbage is collected, which goes by the number of
    objects and not by their size.
    """
    vars(trainer).clear()


def quiet() -> None:
    """Suppress log messages and warnings of transformers and Lightning."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
