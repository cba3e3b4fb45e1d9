"""The typed shared keys, where the configuration lies, and how a job's folder is named."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

_HERE = Path(__file__).resolve().parent


def config_dir() -> Path:
    """conf/ of a checkout, else the copy that the wheel carries."""
    checkout = _HERE.parents[1] / "conf"
    return checkout if (checkout / "config.yaml").exists() else _HERE / "conf"


@dataclass
class PretrainingConfig:
    """See `untrac_exp.training.Pretraining`, which this becomes."""

    _target_: str = "untrac_exp.training.Pretraining"
    steps: int = MISSING
    batch_size: int = MISSING
    optimizer: Any = MISSING
    schedule: Any = "${schedule}"
    clip: float = 1.0
    checkpoint_every: int = MISSING


@dataclass
class Config:
    """The shared keys. Group nodes are typed by the signature of their `_target_`."""

    name: str = "default"
    """Experiment; the first folder below `outputs`."""
    scale: str = MISSING
    seed: int = 0
    """Of the sampled sequences and of the order in which they are unlearned."""
    train_seed: int = 0
    """Of θ0: its first weights and the order of its data."""
    world_seed: int = 0
    """Of generated corpora and test sets (miniworld, tasks): another seed, another world."""
    n_per_corpus: int | None = MISSING
    """Sequences sampled from each corpus to compute influence on; null takes all."""
    max_sequences: dict[str, int] | None = None
    """Sequences of each corpus in the mixture; null takes what the corpora hold."""
    threads: int | None = MISSING
    """CPU threads of every process; null leaves it to torch."""
    outputs: str = "outputs"
    store: str = "${outputs}/store"
    force: Any = False
    """Run a job whose results are already there: true computes its method's answer again, all its
    tokens, θ0 and truth too."""
    plan: bool = False
    """Print what would be run, and what it would cost, instead of running it."""
    plan_flops_per_s: float = 5e13
    """Floating-point operations a second that a plan reckons with."""
    corpora: Any = MISSING
    testset: Any = MISSING
    model: Any = MISSING
    schedule: Any = MISSING
    """Of the learning rate of pretraining."""
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    unlearning: Any = MISSING
    hessian: Any = MISSING
    """Sizes of the approximations of the inverse Hessian."""
    optimizer: Any = MISSING
    objective: Any = MISSING
    method: Any = MISSING
    truth: Any = None
    trainer: Any = MISSING
    logger: Any = None


_IN_THE_PATH = {"experiment", "name", "method", "scale", "seed"}  # but not what is below them
_NOT_A_VARIANT = {
    *("logger", "force", "outputs", "store", "threads", "hydra"),  # leave the results as they are
    *("plan", "plan_flops_per_s"),
}
_LONGEST = 120


def variant(overrides: Sequence[str]) -> str:
    """What sets a job apart besides experiment, scale, method and seed; "" for nothing.

    `["method=untrac", "optimizer=sgd", "seed=1"]` gives `optimizer=sgd`. Names a folder, so what
    cannot stand in one is replaced by a hash, and so is the end of a long list.
    """
    parts = []
    for override in overrides:
        key, _, value = override.partition("=")
        name = key.lstrip("+~").split("@")[0]
        if name in _IN_THE_PATH or name.split(".")[0] in _NOT_A_VARIANT:
            continue
        if not re.fullmatch(r"[\w.+-]{0,40}", value):
            value = _short_hash(value)
        parts.append(f"{name}={value}")
    parts.sort()
    shown = parts
    while len(",".join(shown)) > _LONGEST:
        shown = shown[:-1]
    if len(shown) < len(parts):
        shown = [*shown, f"{len(parts) - len(shown)}more-{_short_hash(','.join(parts))}"]
    return ",".join(shown)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def job_dir(method: str, overrides: Sequence[str], seed: int) -> str:
    """`untrac,optimizer=sgd/seed0`."""
    return f"{','.join(filter(None, (method, variant(overrides))))}/seed{seed}"


def register() -> None:
    """Make the schema and the resolvers known to Hydra and OmegaConf."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("untrac_job_dir", job_dir, replace=True)
    OmegaConf.register_new_resolver("untrac_variant", variant, replace=True)


register()
