"""Schema of the shared keys, location of conf/, and the resolvers that name output folders."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.overrides_visitor import HydraOverrideVisitor
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.utils import get_class
from omegaconf import MISSING, DictConfig, OmegaConf, flag_override

_PACKAGE = Path(__file__).resolve().parents[1]


def config_dir() -> Path:
    """Return conf/ of the checkout, or the copy in the installed package."""
    checkout = _PACKAGE.parents[1] / "conf"
    return checkout if (checkout / "config.yaml").exists() else _PACKAGE / "conf"


@dataclass
class PretrainingConfig:
    """Schema of `untrac_exp.stages.pretraining.PretrainingSettings`."""

    _target_: str = "untrac_exp.stages.pretraining.PretrainingSettings"
    steps: int = MISSING
    batch_size: int = MISSING
    optimizer: Any = MISSING
    schedule: Any = "${schedule}"
    clip: float = 1.0
    checkpoint_every: int = MISSING


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
    threads: int | None = MISSING
    """CPU threads per process; null leaves the choice to torch."""
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
    """FLOP/s assumed by a plan; null measures this machine, or assumes 5e13 if the device is not
    present."""
    corpora: Any = MISSING
    """Training corpora."""
    testset: Any = MISSING
    """Test sets whose loss is attributed."""
    model: Any = MISSING
    """Architecture or checkpoint, and tokenizer."""
    schedule: Any = MISSING
    """Learning-rate schedule of pretraining."""
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    """How θ0 and the models of the truth are trained; `steps=0` uses the checkpoint as it is."""
    unlearning: Any = MISSING
    """Learning rates and steps of the methods that unlearn."""
    hessian: Any = MISSING
    """Sizes and dampings of the approximations of the inverse Hessian."""
    optimizer: Any = MISSING
    """Optimizer of unlearning."""
    objective: Any = MISSING
    """Loss that unlearning minimises."""
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


_IN_THE_PATH = {"experiment", "name", "method", "scale", "seed"}  # not the keys nested below them
_NOT_IN_A_NAME = {
    *("logger", "force", "outputs", "store", "threads", "hydra"),  # do not change results
    "budget",  # a larger budget resumes in the same folder
    *("plan", "plan_flops_per_s", "parallel"),
}
_LONGEST, _LONGEST_VALUE = 120, 80


Params = Mapping[str, str] | None
"""`hydra.sweeper.params`: the axes of a sweep, key -> values."""


def job_dir(method: str, overrides: Sequence[str], params: Params, seed: int) -> str:
    """Return a job's folder below its sweep's, such as `untrac,optimizer=sgd/seed0`."""
    return f"{','.join(filter(None, (method, variant(overrides, params))))}/seed{seed}"


def sweep_dir(scale: str, overrides: Sequence[str], params: Params) -> str:
    """Return a sweep's folder: `mini`, or `mini-<hash>` with overrides constant over the sweep."""
    _, constants = _settings(overrides, params)
    text = ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(constants.items()))
    return f"{scale}-{_short_hash(text)}" if text else scale


def variant(overrides: Sequence[str], params: Params) -> str:
    """Describe a job by its values on the axes of its sweep, except method and seed.

    The result names a folder: lists are joined by "+", and characters that do not fit a file name
    and the end of a long list are replaced by a hash.

    Args:
        overrides: of the job, such as `["method=untrac", "optimizer=sgd", "seed=1"]`, which gives
            `optimizer=sgd`.
        params: `hydra.sweeper.params` with the axes of the command line (see `share_axes`).

    Returns:
        The text; "" if nothing else varies.
    """
    values, _ = _settings(overrides, params)
    parts = sorted(f"{key.replace('/', '.')}={_readable(v)}" for key, v in values.items())
    shown = parts
    while len(",".join(shown)) > _LONGEST and len(shown) > 1:
        shown = shown[:-1]
    if len(shown) < len(parts):
        shown = [*shown, f"{len(parts) - len(shown)}more-{_short_hash(','.join(parts))}"]
    return ",".join(shown)


def overrides_of(overrides: Sequence[str]) -> dict[str, str]:
    """Return the values of a job's overrides as text, without those that affect no result."""
    values = {}
    for override in parse_overrides(overrides):
        key = override.key_or_group
        ignored = {key, key.split(".")[0]} & _NOT_IN_A_NAME or key in _IN_THE_PATH
        if not ignored:
            text = str(override.input_line).partition("=")[2]
            values[key] = "~" if override.is_delete() else text
    return values


def share_axes(config: DictConfig) -> None:
    """Write the axes of a sweep's command line into the `hydra.sweeper.params` of all its jobs.

    Without it a job knows only its own values. config: the sweep's, before it runs.
    """
    hydra = config.hydra
    with flag_override(hydra, ["readonly", "struct"], False):
        hydra.overrides.hydra.append(axes_override(hydra.overrides.task, hydra.sweeper.params))


def axes_override(overrides: Sequence[str], params: Params) -> str:
    """The override by which a job knows the axes of its sweep."""
    quoted = (
        f"{key}: {QuotedString(text, Quote.single).with_quotes()}"
        for key, text in _axes(overrides, params).items()
    )
    return f"++hydra.sweeper.params={{{', '.join(quoted)}}}"


def _axes(overrides: Sequence[str], params: Params) -> dict[str, str]:
    """Return the keys with several values, and the text of these values."""
    swept = [*(f"{key}={values}" for key, values in (params or {}).items()), *overrides]
    return {
        one.key_or_group: str(one.input_line).partition("=")[2]
        for one in parse_overrides(swept)
        if one.is_sweep_override()
    }


def _settings(overrides: Sequence[str], params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the overrides set on axes of the sweep, and what they set elsewhere."""
    axes = _axes(overrides, params)
    single = parse_overrides(
        f"{key}={text}" for key, text in (params or {}).items() if key not in axes
    )
    known = {one.key_or_group: one.value() for one in single}
    varying: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for one in parse_overrides(overrides):
        key = one.key_or_group
        ignored = {key, key.split(".")[0]} & _NOT_IN_A_NAME or key in _IN_THE_PATH
        if ignored or one.is_sweep_override():
            continue
        value = "~" if one.is_delete() else one.value()
        if key in axes:
            varying[key] = value
        elif key not in known or known[key] != value:  # differs from the experiment
            constants[key] = value
    return varying, constants


def parse_overrides(overrides: Iterable[str]) -> list[Override]:
    """Parse overrides of the command line."""
    return OverridesParser.create().parse_overrides([*overrides])


def _readable(value: Any) -> str:
    """Format a value in letters, digits and `_.+-`, with a hash for what is left out."""
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
"""Method of Hydra's parser that reads a key in a mapping."""


def _name(visitor: HydraOverrideVisitor, ctx: Any) -> str:
    """Read a key in a mapping on the command line as text.

    Hydra allows no quotes there and would read `{true: x}`, `{1.50: x}` and `{null: x}` as a
    boolean, a number and None.
    """
    value = visitor._createPrimitive(ctx)
    return value if isinstance(value, str) else ctx.getText().strip()


def rate(rates: Mapping[str, float], target: str, rise: float | None) -> float:
    """Return the learning rate of a method's unlearning.

    rates: by the `rate_key` of a method's class (`target`), and `default`, which also applies if
    unlearning stops at a `rise` of the forget-set loss rather than after a number of steps.
    """
    name = "default" if rise is not None else getattr(get_class(target), "rate_key", "default")
    return rates.get(name, rates["default"])


def by_scale(values: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """Return the value for the configured scale, as in ``${by_scale:{mini:64,paper:256}}``.

    Raises:
        ValueError: the scale has no value.
    """
    if _root_.scale not in values:
        there = " or ".join(map(str, values))
        raise ValueError(f"scale={_root_.scale} has no value in by_scale; there is {there}")
    return values[_root_.scale]


def default_logger(*sources: str | None) -> str:
    """Return the default `logger`: none for local files, so that nothing is sent; else wandb."""
    return "none" if "local" in sources else "wandb"


def register() -> None:
    """Register the schema and the resolvers, and patch Hydra to read mapping keys as text."""
    setattr(HydraOverrideVisitor, _VISIT_NAME, _name)
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("untrac_job_dir", job_dir, replace=True)
    OmegaConf.register_new_resolver("untrac_sweep_dir", sweep_dir, replace=True)
    OmegaConf.register_new_resolver("untrac_rate", rate, replace=True)
    OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)
    OmegaConf.register_new_resolver("untrac_logger", default_logger, replace=True)


register()
