"""How every stage gets its `lightning.Trainer`."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import lightning
import torch
import transformers

Batches = Iterator[Any]

_PRECISIONS = ("32-true", "64-true", "bf16-mixed")
_CAST = "it casts the weights, which do not come back bit by bit, and losses of weights so coarse"
_REFUSED = {
    "bf16-true": f"{_CAST} hide an influence",
    "16-true": f"{_CAST} hide an influence",
    "16-mixed": "float16 gradients vanish unless the loss is scaled, which methods do not do",
}


@dataclass(frozen=True)
class TrainerSettings:
    """Where and how precisely stages run; the `trainer` group.

    precision: 32-true, 64-true or bf16-mixed, as in `lightning.Trainer`; mixed precision is that of
    gradients, losses are read in the weights' own.
    max_tokens: padded tokens a device reads at once; larger batches go through in micro-batches.
    compile: run pretraining, unlearning steps and gradients of datasets through `torch.compile`;
    losses that are read, and Hessians, run eagerly. See `stages.compiling`.
    shard: while pretraining, give each device a part of the weights, of their gradients and of the
    optimizer's state (FSDP). Unlearning needs the model whole on each.
    theta0_on_cpu: while a model on an accelerator is unlearned, keep θ0 in main memory.
    workers: processes of one job that build its truth's models and its method's parts together, a
    device each; auto for as many as there are devices, or CPU cores (see `untrac_exp.workers`).
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
    workers: int | Literal["auto"] = 1
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS:
            reason = _REFUSED.get(self.precision, "it is unknown")
            raise ValueError(
                f"trainer.precision={self.precision}: {reason}; use {', '.join(_PRECISIONS)}"
            )

        if self.workers != "auto" and self.workers < 1:
            raise ValueError(f"trainer.workers={self.workers} must be at least 1, or auto")

    def build(self, **stage: Any) -> lightning.Trainer:
        """A trainer with this place's settings and the `stage`'s own."""
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
        """Where models are."""
        return self.build(barebones=True).strategy.root_device

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The precision of forward passes for gradients that run outside a trainer."""
        mixed = self.precision == "bf16-mixed"
        return torch.autocast(device.type, torch.bfloat16) if mixed else nullcontext()


class Stream:
    """Batches already collated, in their order; how many are drawn is the trainer's business.

    Lightning takes any iterable; torch's DataLoader would only add its own cost to each batch.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Batches:
        return self.batches


def quiet() -> None:
    """Silence what libraries say at each of the many fits and loads; stages say what matters."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
