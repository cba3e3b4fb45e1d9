"""Schema of the shared keys, location of conf/, the resolver `by_scale`, and a job's overrides."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.resolvers.oc import env as oc_env

_PACKAGE = Path(__file__).resolve().parents[1]


def config_dir() -> Path:
    """Return conf/ of the checkout, or the copy in the installed package."""
    checkout = _PACKAGE.parents[1] / "conf"
    return checkout if (checkout / "config.yaml").exists() else _PACKAGE / "conf"


@dataclass
class Config:
    """Schema of the shared keys; nodes of groups are checked against their `_target_`."""

    name: str = "default"
    """Name of the experiment and of the first folder below `outputs`."""
    scale: str = MISSING
    """Sizes of everything: mini (CPU) or paper (GPU)."""
    seed: int = 0
    """Seed of the sample of each corpus and of the order in which it is unlearned."""
    train_seed: int = 0
    """Seed of θ0: its initial weights and data order."""
    world_seed: int = 0
    """Seed of generated corpora and test sets (miniworld, tasks)."""
    n_per_corpus: int | None = MISSING
    """Sequences sampled from each corpus to compute its influence; null takes all."""
    n_tokens_per_corpus: int | None = None
    """Tokens sampled from each corpus if nothing is trained (trace); null samples `n_per_corpus`
    rows. With both, rows are drawn until either is reached."""
    max_sequences: dict[str, int] | None = field(default_factory=dict)  # null has no keys to set
    """Largest number of sequences of each corpus in the training mixture, by name; a corpus that is
    not named has no limit."""
    tokens: int = 0
    """Texts of each test set and corpus, those that it moved most, of which tokens.csv has the
    influence on each token; of methods that evaluate test texts. 0 writes none."""
    threads: int | None = MISSING
    """CPU threads per process; null leaves the choice to torch."""
    debug: bool = False
    """Run one job at tiny sizes, without a logger, to see whether it runs at all."""
    tags: list[str] = field(default_factory=list)
    """Labels of the job in its metrics.json and in W&B."""
    outputs: str = "outputs"
    """Folder for results."""
    store: str = "${outputs}/store"
    """Folder for shared artifacts: tokens, trained models, losses and parts of results."""
    force: Any = False
    """Run a job again though its results exist: true recomputes the method's scores, all also
    tokens, θ0 and the truth."""
    budget: Any = None
    """Time limit of the command, such as 90s, 5min or 2h, within which the result is refined in
    rounds; its jobs share the time. Only if nothing is trained, as in trace. auto: 10min on a CPU,
    else no limit; null: no limit."""
    plan: bool = False
    """Print what would be trained and read, its cost, and what is there, without running it."""
    plan_flops_per_s: float | None = None
    """FLOP/s assumed by a plan; null measures the model on this machine, or assumes 5e13 if device
    or model are not here, or the model has over 600 million parameters."""
    corpora: Any = MISSING
    """Training corpora."""
    candidates: Any = None
    """Texts at `paths`, as of corpora=local, that the model was not trained on: candidates.csv has
    what adding them would do."""
    testset: Any = MISSING
    """Test sets whose loss is attributed."""
    model: Any = MISSING
    """Architecture or checkpoint, and tokenizer."""
    schedule: Any = MISSING
    """Learning-rate schedule of pretraining."""
    pretraining: Any = MISSING
    """How θ0 and the models of the truth are trained; `steps=0` uses the checkpoint as it is."""
    optimizer: Any = MISSING
    """Optimizer of unlearning."""
    objective: Any = MISSING
    """Loss that unlearning minimises."""
    loss: Any = MISSING
    """How losses of tokens are averaged in training, unlearning and evaluation."""
    method: Any = MISSING
    """Attribution method."""
    truth: Any = None
    """Retraining that scores are compared with; none computes scores only."""
    statistics: dict[str, str] = field(default_factory=dict)
    """Additional agreement statistics, by name: `module.function` of the method's and the truth's
    influences, each an array (corpora, subsets)."""
    trainer: Any = MISSING
    """Device, precision and micro-batch size."""
    parallel: Any = MISSING
    """Processes that compute the independent parts of a job."""
    logger: Any = None
    """Where scores and curves are logged besides the result files."""


_DEBUG = {
    "pretraining.steps": 3,
    "pretraining.batch_size": 2,
    "pretraining.checkpoint_every": 2,
    "testset.n_per_subset": 4,
    "method.samples": 4,
    "method.stopping.steps": 2,
}
"""Largest sizes of a job with `debug=true`, where it has such keys."""


def shrink(cfg: DictConfig) -> None:
    """Limit the sizes of a job, as `debug=true` asks."""
    cfg.n_per_corpus = min(cfg.n_per_corpus or 4, 4)  # null takes all
    for key, most in _DEBUG.items():
        size = OmegaConf.select(cfg, key)
        if size is not None:
            OmegaConf.update(cfg, key, min(size, most))


def parse_overrides(overrides: Iterable[str]) -> list[Override]:
    """Parse overrides of the command line."""
    return OverridesParser.create().parse_overrides([*overrides])


def job_overrides(hydra: HydraConf) -> dict[str, str]:
    """Return the overrides that name a job's folder, key -> value as text.

    They are those of `hydra.job.override_dirname`, so that nobody needs to parse the folder's name.
    """
    excluded = hydra.job.config.override_dirname.exclude_keys
    return {
        override.key_or_group: override.get_value_element_as_str()
        for override in parse_overrides(hydra.overrides.task)
        if override.key_or_group not in excluded
    }


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Convert a node to plain Python values, with interpolations resolved."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def shown(cfg: DictConfig) -> dict[str, Any]:
    """Convert to plain values as `plain` does, but leave environment variables unresolved."""
    values: Any = OmegaConf.create(OmegaConf.to_container(cfg))
    OmegaConf.register_new_resolver("oc.env", _unresolved, replace=True)
    try:
        return plain(values)
    finally:
        OmegaConf.register_new_resolver("oc.env", oc_env, replace=True)


def _unresolved(name: str, *default: Any) -> str:
    return f"${{oc.env:{','.join(map(str, (name, *default)))}}}"


def by_scale(values: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """Return the value for the configured scale, as in ``${by_scale:{mini:64,paper:256}}``.

    Raises:
        ValueError: the scale has no value.
    """
    if _root_.scale not in values:
        there = " or ".join(map(str, values))
        raise ValueError(f"scale={_root_.scale} has no value in by_scale; there is {there}")
    return values[_root_.scale]


ConfigStore.instance().store(name="schema", node=Config)
OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)
