"""`plan=true`: what a job would make and cost, found out without network, GPU or downloads.

Where corpora, test sets and tokenizer are on this machine they are encoded as the job would encode
them, so that steps, tokens and what the store already has are those of the job. Where they would
have to be downloaded, sizes are reckoned from the configuration and marked with "~".
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from untrac_exp.config import config_dir, share_axes, variant
from untrac_exp.guess import Guess, downloads, guessed_corpora, guessed_subsets
from untrac_exp.inputs import Data, is_finished, job_key, load_data, plain, prepare_process
from untrac_exp.methods.base import Method, Subset, Work
from untrac_exp.models.source import ModelSource
from untrac_exp.rate import SHORTER, reckoned
from untrac_exp.report.plan import print_plan
from untrac_exp.result_files import write_text
from untrac_exp.schema import check
from untrac_exp.store import Force, Store, fingerprint
from untrac_exp.truth.models import Truth, named


@dataclass(frozen=True)
class Artifact:
    """One thing that is made: tokens, a model, its losses, or a method's scores.

    id: the same in two jobs that share it. steps: of an optimizer. forward, backward: tokens, as
    `Meter` counts them; None if unknown. size: bytes it leaves in the store. there: whether it need
    not be made, None where that cannot be told before its data are there. parts: how many devices
    can make it at once.
    """

    kind: str
    name: str
    id: str
    steps: int = 0
    forward: int | None = 0
    backward: int | None = 0
    size: int = 0
    there: bool | None = None
    parts: int = 1


@dataclass(frozen=True)
class Plan:
    """One job. exact: whether sizes are counted rather than guessed. downloads: key -> what.

    measured: whether `flops_per_s` is this machine's.
    """

    job: str
    exact: bool
    parameters: int | None
    flops_per_s: float
    measured: bool
    downloads: dict[str, str]
    artifacts: list[Artifact]


class ReadOnlyStore(Store):
    """A store that is only read; what it lacks is built beside it, in a temporary one."""

    def __init__(self, root: str, force: Force, beside: str) -> None:
        super().__init__(root, force)
        self.beside = Store(beside)

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        return self.find(kind, key) or self.beside.get(kind, key, build)


def plan(arguments: Sequence[str], multirun: bool = False) -> None:
    """Print the plan of the job or sweep that a command with these arguments would run.

    multirun: whether it has Hydra's `-m`. Leaves `plan.json` in the folder of the sweep or job: a
    list of `Plan`s.
    """
    with initialize_config_dir(str(config_dir()), job_name="untrac_exp", version_base="1.3"):
        plans = []
        for cfg, folder, outdir in _jobs(arguments, multirun):
            check(cfg)
            prepare_process(cfg)
            plans.append(make(cfg, outdir))
            file = folder / "plan.json"
    write_text(file, json.dumps([asdict(plan) for plan in plans], indent=1) + "\n")
    print_plan([asdict(plan) for plan in plans], f"{cfg.name} at {cfg.scale} scale", SHORTER)


def _jobs(arguments: Sequence[str], multirun: bool) -> Iterator[tuple[DictConfig, Path, Path]]:
    """Of each job its configuration, the folder of the command and that of the job; of a command
    that is no sweep both are one. The `hydra` node is in `HydraConfig`.

    Hydra composes from files for every job, half a second each; jobs that differ in values alone
    get copies here.
    """
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    options: dict[str, Any] = {"config_name": "config", "with_log_configuration": False}
    master = hydra.compose_config(overrides=[*arguments], run_mode=RunMode.MULTIRUN, **options)
    if master.hydra.mode is None:
        master.hydra.mode = RunMode.MULTIRUN if multirun else RunMode.RUN
    share_axes(master)
    parser = OverridesParser.create()
    jobs = [[*master.hydra.overrides.task]]
    if master.hydra.mode == RunMode.MULTIRUN:
        swept = [f"{key}={values}" for key, values in master.hydra.sweeper.params.items()]
        overrides = parser.parse_overrides([*swept, *master.hydra.overrides.task])
        [jobs] = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    composed: dict[tuple[str, ...], DictConfig] = {}
    for job in jobs:
        overrides = parser.parse_overrides(job)
        values = [one for one in overrides if one.key_or_group not in master.hydra.runtime.choices]
        groups = tuple(str(one.input_line) for one in overrides if one not in values)
        if groups not in composed:
            composed[groups] = hydra.config_loader.load_sweep_config(master, job)
            composed[groups].hydra.mode = master.hydra.mode
        cfg = deepcopy(composed[groups])
        for one in values:
            if one.type != OverrideType.DEL:
                OmegaConf.update(cfg, one.key_or_group, one.value())
        cfg.hydra.overrides.task = job
        HydraConfig.instance().set_config(cfg)
        # read while they are whole: they refer to keys of `hydra`
        if cfg.hydra.mode == RunMode.RUN:
            folder = outdir = Path(cfg.hydra.run.dir)
        else:
            folder = Path(cfg.hydra.sweep.dir)
            outdir = folder / cfg.hydra.sweep.subdir
        with open_dict(cfg):
            del cfg["hydra"]
        yield cfg, folder, outdir


def make(cfg: DictConfig, outdir: Path) -> Plan:
    """The plan of the job that would write its files to `outdir`."""
    method, truth = instantiate(cfg.method), instantiate(cfg.truth) if cfg.truth else None
    found = dict(downloads(OmegaConf.to_container(cfg, resolve=True)))
    hydra = HydraConfig.get()
    varies = variant(hydra.overrides.task, hydra.sweeper.params)
    settings = ",".join(filter(None, (hydra.runtime.choices["method"], varies)))
    job = f"{settings} seed {cfg.seed}"
    if found:
        sizes = _shared(cfg, _guess)
        parameters = sizes.parameters
        artifacts = list(_guessed(cfg, sizes, method, truth, job))
        rate = reckoned(cfg, instantiate(cfg.model), None, parameters)
    else:
        data, parameters = _shared(cfg, _read)
        artifacts = list(_counted(cfg, data, method, truth, parameters, job, outdir))
        rate = reckoned(cfg, data.training.source, data.training.tokenizer, parameters)
    return Plan(job, not found, parameters, *rate, found, artifacts)


T = TypeVar("T")
_known: dict[str, Any] = {}


def _shared(cfg: DictConfig, find: Callable[[DictConfig], T]) -> T:
    """`find(cfg)`, once for all jobs of a sweep that share data and model."""
    names = ["corpora", "testset", "model", "max_sequences", "n_per_corpus", "pretraining"]
    names.append("n_tokens_per_corpus")
    settings = plain(cfg)
    if cfg.pretraining.steps == 0:  # the corpora are sampled before they are read
        names.append("seed")
    key = fingerprint({name: settings[name] for name in [*names, "trainer", "store"]})
    if key not in _known:
        _known[key] = find(cfg)
    return _known[key]


# ------------------------------------------------------------------- where all data are at hand
_beside = cache(lambda: tempfile.TemporaryDirectory(prefix="untrac-plan-"))


def _read(cfg: DictConfig) -> tuple[Data, int | None]:
    """The job's data, and how many parameters its model has."""
    data = load_data(cfg, ReadOnlyStore(cfg.store, cfg.force, _beside().name))
    return data, data.training.source.parameters(len(data.training.tokenizer))


def _counted(
    cfg: DictConfig,
    data: Data,
    method: Method,
    truth: Truth | None,
    parameters: int | None,
    job: str,
    outdir: Path,
) -> Iterator[Artifact]:
    training, real = data.training, Store(cfg.store, cfg.force)
    for name, folder in training.corpora.items():
        size = sum(file.stat().st_size for file in folder.iterdir())
        there = folder.is_relative_to(real.root)
        yield Artifact("tokens", name, folder.name, size=size, there=there)
    reading = sum(subset.read for subset in data.subsets.values())
    theta0 = training.recipe(cfg.train_seed)
    models = {theta0.id: (theta0, "θ0")} if training.settings.steps else {}
    jobs = [] if truth is None else truth.jobs(training, data.subsets)
    for one in jobs:
        models.setdefault(one.recipe.id, (one.recipe, one.name))
    total = {"n": sum(map(len, training.data.values()))}
    total["read"] = sum(one.read for one in training.data.values())
    for recipe, name in models.values():
        without, steps = recipe.key["without"], recipe.key["pretraining"]["steps"]
        kept = total["n"] - sum(len(training.data[name]) for name in without)
        tokens = steps * min(training.settings.batch_size, kept) * total["read"] // total["n"]
        size = _model_size(parameters, steps, training.settings.checkpoint_every, without)
        there = real.find("model", recipe.key) is not None
        name = f"{name}, train seed {recipe.key['train_seed']}"
        id_ = real.path("model", recipe.key).name
        yield Artifact("model", name, id_, steps, tokens, tokens, size, there)
    for one in jobs:
        name = f"{one.name}, train seed {one.seed}"
        yield Artifact("losses", name, one.recipe.id, forward=reading, there=one.is_done)
    every = training.settings.checkpoint_every
    work = Work(
        {name: one.sample(cfg.n_per_corpus, cfg.seed) for name, one in training.data.items()},
        data.subsets,
        training.settings.steps // every,
        cfg.seed,
    )
    there = not cfg.force and is_finished(outdir, fingerprint(job_key(cfg, data)))
    yield _scores(method, work, job, there)


# --------------------------------------------------------------- where some are yet to be fetched
@dataclass(frozen=True)
class Sizes:
    """What is guessed of data and model; block_size: tokens of a packed sequence."""

    block_size: int
    parameters: int | None
    corpora: Mapping[str, Guess]
    subsets: Mapping[Subset, Guess]


def _guess(cfg: DictConfig) -> Sizes:
    source: ModelSource = instantiate(cfg.model)
    subsets = guessed_subsets(OmegaConf.to_container(cfg.testset, resolve=True))
    return Sizes(source.block_size, source.parameters(None), guessed_corpora(cfg, source), subsets)


def _guessed(
    cfg: DictConfig, sizes: Sizes, method: Method, truth: Truth | None, job: str
) -> Iterator[Artifact]:
    corpora, subsets = sizes.corpora, sizes.subsets
    for name, data in corpora.items():
        width = sizes.block_size
        yield Artifact("tokens", name, f"tokens {name}", size=len(data) * (8 * width + 4))
    reading = sum(data.read for data in subsets.values())
    settings = cfg.pretraining
    n, read = sum(map(len, corpora.values())), sum(data.read for data in corpora.values())
    evaluated = [] if truth is None else truth.models(list(corpora))
    wanted = [(cfg.train_seed, ()), *evaluated] if settings.steps else []
    for seed, without in dict.fromkeys(wanted):
        steps = settings.steps
        if without and truth is not None and truth.budget == "epochs":
            steps = max(1, round(steps * (n - sum(len(corpora[one]) for one in without)) / n))
        tokens = steps * settings.batch_size * read // n
        name = f"{named(without)}, train seed {seed}"
        size = _model_size(sizes.parameters, steps, settings.checkpoint_every, without)
        yield Artifact("model", name, f"model {name} {truth}", steps, tokens, tokens, size)
        if (seed, without) in evaluated:
            yield Artifact("losses", name, f"losses {name} {truth}", forward=reading)
    sampled = {name: data.sample(cfg.n_per_corpus, cfg.seed) for name, data in corpora.items()}
    work = Work(sampled, subsets, settings.steps // settings.checkpoint_every, cfg.seed)
    yield _scores(method, work, job, None)


# ------------------------------------------------------------------------------------- of both
def _scores(method: Method, work: Work, job: str, there: bool | None) -> Artifact:
    tokens = method.tokens(work)
    forward, backward = (None, None) if tokens is None else tokens
    id_, parts = f"scores {job}", method.apart(work)
    return Artifact("scores", job, id_, 0, forward, backward, there=there, parts=parts)


def _model_size(parameters: int | None, steps: int, every: int, without: Sequence[str]) -> int:
    """Bytes of float32 weights, and of θ0's checkpoints."""
    return 4 * (parameters or 0) * (1 + (0 if without else steps // every))
