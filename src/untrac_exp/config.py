"""The typed shared keys, where the configuration lies, and how a job's folder is named."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.overrides_visitor import HydraOverrideVisitor
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import MISSING, DictConfig, OmegaConf, flag_override

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
    n_tokens_per_corpus: int | None = None
    """Tokens of the sample of each corpus, where nothing is trained (trace); null samples
    `n_per_corpus` rows. With both, rows are drawn until either is reached."""
    max_sequences: dict[str, int] | None = field(default_factory=dict)  # of null none can be set
    """Sequences of each corpus in the mixture; what is not named takes what the corpus holds."""
    threads: int | None = MISSING
    """CPU threads of every process; null leaves it to torch."""
    outputs: str = "outputs"
    store: str = "${outputs}/store"
    force: Any = False
    """Run a job whose results are already there: true computes its method's answer again, all its
    tokens, θ0 and truth too."""
    budget: Any = None
    """Time for the command, as in 90s, 5min or 2h: the best answer within it (where nothing is
    trained, as in trace). auto: 10min on a CPU and no limit elsewhere; null: no limit."""
    plan: bool = False
    """Print what would be run, and what it would cost, instead of running it."""
    plan_flops_per_s: float | None = None
    """Floating-point operations a second that a plan reckons with; null measures this machine's,
    and takes 5e13 for a device that is not here."""
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
    statistics: dict[str, str] = field(default_factory=dict)
    """More statistics of the agreement, by name: `module.function` of the influences and the
    truth's, each an array (corpora, subsets)."""
    trainer: Any = MISSING
    logger: Any = None


_IN_THE_PATH = {"experiment", "name", "method", "scale", "seed"}  # but not what is below them
_NOT_IN_A_NAME = {
    *("logger", "force", "outputs", "store", "threads", "hydra"),  # leave the results as they are
    "budget",  # more of it goes on in the same folder
    *("plan", "plan_flops_per_s", "trainer.workers"),
}
_LONGEST, _LONGEST_VALUE = 120, 80


Params = Mapping[str, str] | None
"""`hydra.sweeper.params`: key -> values, of the axes of a sweep."""


def job_dir(method: str, overrides: Sequence[str], params: Params, seed: int) -> str:
    """`untrac,optimizer=sgd/seed0`."""
    return f"{','.join(filter(None, (method, variant(overrides, params))))}/seed{seed}"


def sweep_dir(scale: str, overrides: Sequence[str], params: Params) -> str:
    """`mini`; with overrides that are constant over the sweep `mini-1a2b3c4d`, by what they set."""
    _, constants = _settings(overrides, params)
    text = ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(constants.items()))
    return f"{scale}-{_short_hash(text)}" if text else scale


def variant(overrides: Sequence[str], params: Params) -> str:
    """The values of a job on the axes of its sweep but method and seed; "" for none.

    overrides: of the job. params: `hydra.sweeper.params`, which names the axes, those of the
    command line included (`share_axes`). `["method=untrac", "optimizer=sgd", "seed=1"]` gives
    `optimizer=sgd`, lists are joined by "+". Names a folder, so what cannot stand in one is
    replaced, with a hash to tell it from others, and so is the end of a long list.
    """
    values, _ = _settings(overrides, params)
    parts = sorted(f"{key.replace('/', '.')}={_readable(v)}" for key, v in values.items())
    shown = parts
    while len(",".join(shown)) > _LONGEST and len(shown) > 1:
        shown = shown[:-1]
    if len(shown) < len(parts):
        shown = [*shown, f"{len(parts) - len(shown)}more-{_short_hash(','.join(parts))}"]
    return ",".join(shown)


def share_axes(config: DictConfig) -> None:
    """Write the axes of a sweep's command line into the `hydra.sweeper.params` of all its jobs.

    A launcher gives a job its own values alone, which do not say what else varies.
    config: the sweep's, before it is run.
    """
    hydra = config.hydra
    axes = _axes(hydra.overrides.task, hydra.sweeper.params)
    quoted = (
        f"{key}: {QuotedString(text, Quote.single).with_quotes()}" for key, text in axes.items()
    )
    with flag_override(hydra, ["readonly", "struct"], False):
        hydra.overrides.hydra.append(f"++hydra.sweeper.params={{{', '.join(quoted)}}}")


def number_of_jobs(params: Params) -> int:
    """Of a sweep; params: with the axes of the command line (`share_axes`)."""
    swept = _parsed(f"{key}={values}" for key, values in (params or {}).items())
    return math.prod(len([*one.sweep_iterator()]) for one in swept if one.is_sweep_override())


def _axes(overrides: Sequence[str], params: Params) -> dict[str, str]:
    """Keys that have several values, and these as they were written."""
    swept = [*(f"{key}={values}" for key, values in (params or {}).items()), *overrides]
    return {
        one.key_or_group: str(one.input_line).partition("=")[2]
        for one in _parsed(swept)
        if one.is_sweep_override()
    }


def _settings(overrides: Sequence[str], params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the overrides set on axes of the sweep, and elsewhere."""
    axes = _axes(overrides, params)
    single = _parsed(f"{key}={text}" for key, text in (params or {}).items() if key not in axes)
    known = {one.key_or_group: one.value() for one in single}
    varying: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for one in _parsed(overrides):
        key = one.key_or_group
        ignored = {key, key.split(".")[0]} & _NOT_IN_A_NAME or key in _IN_THE_PATH
        if ignored or one.is_sweep_override():
            continue
        value = "~" if one.is_delete() else one.value()
        if key in axes:
            varying[key] = value
        elif key not in known or known[key] != value:  # else as the experiment has it
            constants[key] = value
    return varying, constants


def _parsed(overrides: Iterable[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides([*overrides])


def _readable(value: Any) -> str:
    """A value in letters, digits and `_.+-`: lists joined by "+", a hash for what is left out."""
    whole = json.dumps(value)
    if isinstance(value, list):
        text = "+".join(map(_word, value))
    else:
        text = "+".join(map(str, value)) if isinstance(value, dict) else _word(value)
    safe = re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII)
    if safe == text and len(text) <= _LONGEST_VALUE and not isinstance(value, dict):
        return text
    return f"{safe[-_LONGEST_VALUE // 2 :].lstrip('_')}-{_short_hash(whole)}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


_VISIT_NAME = "visitDictKey"
"""The method of Hydra's that reads a name in a mapping."""


def _name(visitor: HydraOverrideVisitor, ctx: Any) -> str:
    """A name in a mapping on the command line, where Hydra knows no quotes: the text of it.

    Hydra makes a boolean of `{true: x}`, a number of `{1.50: x}` and None of `{null: x}`.
    """
    value = visitor._createPrimitive(ctx)
    return value if isinstance(value, str) else ctx.getText().strip()


def rate(rates: Mapping[str, float], target: str, rise: float | None) -> float:
    """The learning rate of a method's unlearning, by the module of its `_target_`.

    The `default` for methods that `rates` does not name, and for those that stop at a `rise` of the
    loss, which go as far at any rate.
    """
    name = target.split(".")[-2]
    return rates[name] if rise is None and name in rates else rates["default"]


def by_scale(values: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """The value for the configured `scale`, as in ``samples: ${by_scale:{mini:64,paper:256}}``.

    So a method whose sizes depend on the scale needs no file but its own. ValueError names the
    scale that has no value.
    """
    if _root_.scale not in values:
        there = " or ".join(map(str, values))
        raise ValueError(f"scale={_root_.scale} has no value in by_scale; there is {there}")
    return values[_root_.scale]


def default_logger(*sources: str | None) -> str:
    """The `logger` where none is named: none for own files, which stay on this machine."""
    return "none" if "local" in sources else "wandb"


def register() -> None:
    """Make the schema and the resolvers known to Hydra and OmegaConf, and names be text."""
    setattr(HydraOverrideVisitor, _VISIT_NAME, _name)
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("untrac_job_dir", job_dir, replace=True)
    OmegaConf.register_new_resolver("untrac_sweep_dir", sweep_dir, replace=True)
    OmegaConf.register_new_resolver("untrac_rate", rate, replace=True)
    OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)
    OmegaConf.register_new_resolver("untrac_logger", default_logger, replace=True)


register()
