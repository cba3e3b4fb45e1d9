"""`plan=true`: what a job would make and cost, found out without network, GPU or downloads.

Where corpora, test sets and tokenizer are on this machine they are encoded as the job would encode
them, so that steps, tokens and what the store already has are those of the job. Where they would
have to be downloaded, sizes are estimated from the configuration and marked with "~".
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from untrac_exp.config import axes_override, config_dir, variant
from untrac_exp.guess import downloads, guessed_corpora, guessed_subsets
from untrac_exp.inputs import Data, is_finished, job_key, load_data, plain, prepare_process
from untrac_exp.methods.base import Method, Size, Subset, Work
from untrac_exp.models.source import ModelSource
from untrac_exp.rate import plan_rate
from untrac_exp.report.plan import print_plan
from untrac_exp.result_files import write_text
from untrac_exp.schema import check
from untrac_exp.store import Force, Store, fingerprint
from untrac_exp.truth.models import Truth, named

_SHARED = (
    *("corpora", "testset", "model", "max_sequences", "n_per_corpus", "n_tokens_per_corpus"),
    *("pretraining", "trainer", "store"),
)
"""What the sizes of a job's data and model depend on."""


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


@dataclass(frozen=True)
class Sizes:
    """What jobs share: the sizes of data and model.

    data: None where some are yet to be fetched, `downloads`. rate: FLOP/s, and whether measured.
    """

    corpora: Mapping[str, Size]
    subsets: Mapping[Subset, Size]
    block_size: int
    parameters: int | None = None
    rate: tuple[float, bool] = (1.0, False)
    downloads: Mapping[str, str] | None = None
    data: Data | None = None


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
    plans: list[dict[str, Any]] = []
    known: dict[str, Sizes] = {}
    with (
        initialize_config_dir(str(config_dir()), job_name="untrac_exp", version_base="1.3"),
        TemporaryDirectory(prefix="untrac-plan-") as beside,
    ):
        for cfg, folder, outdir in _jobs(arguments, multirun):
            check(cfg)
            prepare_process(cfg)
            settings = plain(cfg)
            # the corpora of a model that is not trained are sampled before they are read
            names = [*_SHARED, "seed"] if cfg.pretraining.steps == 0 else _SHARED
            key = fingerprint({name: settings[name] for name in names})
            if key not in known:
                known[key] = _sizes(cfg, beside)
            plans.append(asdict(_plan(cfg, known[key], outdir)))
            file = folder / "plan.json"
    write_text(file, json.dumps(plans, indent=1) + "\n")
    print_plan(plans, f"{cfg.name} at {cfg.scale} scale")


def _jobs(arguments: Sequence[str], multirun: bool) -> Iterator[tuple[DictConfig, Path, Path]]:
    """Of each job its configuration, the folder of the command and that of the job; of a command
    that is no sweep both are one. The `hydra` node is in `HydraConfig`.

    Hydra composes from files for every job, half a second each; jobs that differ in values alone
    get copies here.
    """
    parser = OverridesParser.create()
    given = parser.parse_overrides([*arguments])
    single = [str(one.input_line) for one in given if not one.is_sweep_override()]
    hydra = compose("config", single, return_hydra_config=True).hydra
    mode = hydra.mode or (RunMode.MULTIRUN if multirun else RunMode.RUN)
    jobs: list[tuple[str, ...]] = [tuple(arguments)]
    if mode == RunMode.MULTIRUN:
        axes = [f"{key}={values}" for key, values in hydra.sweeper.params.items()]
        values = {one.get_key_element(): one for one in parser.parse_overrides([*axes, *arguments])}
        jobs = [*product(*(
            [f"{key}={value}" for value in one.sweep_string_iterator()]
            if one.is_sweep_override() else [str(one.input_line)]
            for key, one in values.items()
        ))]  # fmt: skip
    shared = axes_override(arguments, hydra.sweeper.params)
    composed: dict[tuple[str, ...], DictConfig] = {}
    for job in jobs:
        overrides = parser.parse_overrides([*job])
        settings = [one for one in overrides if not (
            one.key_or_group in hydra.runtime.choices
            or one.key_or_group.startswith("hydra.") or one.is_delete()
        )]  # fmt: skip
        rest = tuple(str(one.input_line) for one in overrides if one not in settings)
        if rest not in composed:
            composed[rest] = compose("config", [*job, shared], return_hydra_config=True)
        cfg = deepcopy(composed[rest])
        for one in settings:
            OmegaConf.update(cfg, one.key_or_group, one.value())
        cfg.hydra.overrides.task = [
            str(one.input_line)
            for one in overrides
            if not one.key_or_group.startswith(("hydra.", "hydra/"))
        ]
        HydraConfig.instance().set_config(cfg)
        # read while they are whole: they refer to keys of `hydra`
        if mode == RunMode.RUN:
            folder = outdir = Path(cfg.hydra.run.dir)
        else:
            folder = Path(cfg.hydra.sweep.dir)
            outdir = folder / cfg.hydra.sweep.subdir
        with open_dict(cfg):
            del cfg["hydra"]
        yield cfg, folder, outdir


def _sizes(cfg: DictConfig, beside: str) -> Sizes:
    """Counted where all data are at hand, else guessed. beside: a folder for a store."""
    if found := dict(downloads(plain(cfg))):
        source: ModelSource = instantiate(cfg.model)
        size = source.parameters(None)
        subsets = guessed_subsets(plain(cfg.testset))
        rate = plan_rate(cfg, source, None, size)
        corpora = guessed_corpora(cfg, source)
        return Sizes(corpora, subsets, source.block_size, size, rate, found)
    data = load_data(cfg, ReadOnlyStore(cfg.store, cfg.force, beside))
    source, tokenizer = data.training.source, data.training.tokenizer
    size = source.parameters(len(tokenizer))
    rate = plan_rate(cfg, source, tokenizer, size)
    tokens = data.training.data
    return Sizes(tokens, data.subsets, source.block_size, size, rate, data=data)


def _plan(cfg: DictConfig, sizes: Sizes, outdir: Path) -> Plan:
    """The plan of the job that would write its files to `outdir`."""
    method, truth = instantiate(cfg.method), instantiate(cfg.truth) if cfg.truth else None
    hydra = HydraConfig.get()
    varies = variant(hydra.overrides.task, hydra.sweeper.params)
    job = f"{','.join(filter(None, (hydra.runtime.choices['method'], varies)))} seed {cfg.seed}"
    made = [*_given(cfg, sizes, truth), _scores(cfg, sizes, method, job, outdir)]
    exact, fetched = sizes.data is not None, dict(sizes.downloads or {})
    return Plan(job, exact, sizes.parameters, *sizes.rate, fetched, made)


def _given(cfg: DictConfig, sizes: Sizes, truth: Truth | None) -> Iterator[Artifact]:
    """Tokens, the models that are trained on them, and their losses where a truth reads them."""
    store, settings, corpora = Store(cfg.store, cfg.force), cfg.pretraining, sizes.corpora
    training = None if sizes.data is None else sizes.data.training
    for name, data in corpora.items():
        if training is None:
            size = len(data) * (8 * sizes.block_size + 4)
            yield Artifact("tokens", name, f"tokens {name}", size=size)
        else:
            folder = training.corpora[name]
            size = sum(file.stat().st_size for file in folder.iterdir())
            there = folder.is_relative_to(store.root)
            yield Artifact("tokens", name, folder.name, size=size, there=there)
    evaluated = [] if truth is None else truth.models(list(corpora))
    wanted = [(cfg.train_seed, ()), *evaluated] if settings.steps else []
    budget = "steps" if truth is None else truth.budget
    done: dict[tuple[int, tuple[str, ...]], bool] = {}
    if sizes.data is not None and truth is not None:
        jobs = truth.jobs(sizes.data.training, sizes.data.subsets)
        done = {(one.seed, one.without): one.is_done for one in jobs}
    n, read = sum(map(len, corpora.values())), sum(data.read for data in corpora.values())
    reading = sum(data.read for data in sizes.subsets.values())
    for seed, without in dict.fromkeys(wanted):
        name = f"{named(without)}, train seed {seed}"
        kept = n - sum(len(corpora[one]) for one in without)
        steps, id_, is_there = settings.steps, f"{name} {truth}", None
        if without and budget == "epochs":
            steps = max(1, round(steps * kept / n))
        if training is not None:
            key = training.model_spec(seed, without, budget).key
            id_, is_there = store.path("model", key).name, store.find("model", key) is not None
        tokens = steps * min(settings.batch_size, kept) * read // n
        # float32 weights, and θ0's checkpoints
        copies = 1 + (0 if without else steps // settings.checkpoint_every)
        size = 4 * (sizes.parameters or 0) * copies
        yield Artifact("model", name, id_, steps, tokens, tokens, size, is_there)
        if (seed, without) in evaluated:
            losses = done.get((seed, without))
            yield Artifact("losses", name, id_, forward=reading, there=losses)


def _scores(cfg: DictConfig, sizes: Sizes, method: Method, job: str, outdir: Path) -> Artifact:
    """A method's answer."""
    work = Work(
        {name: data.sample(cfg.n_per_corpus, cfg.seed) for name, data in sizes.corpora.items()},
        sizes.subsets,
        cfg.pretraining.steps // cfg.pretraining.checkpoint_every,
        cfg.seed,
    )
    forward, backward = method.tokens(work) or (None, None)
    there = None
    if sizes.data is not None:
        there = not cfg.force and is_finished(outdir, fingerprint(job_key(cfg, sizes.data)))
    parts = method.apart(work)
    return Artifact("scores", job, f"scores {job}", 0, forward, backward, 0, there, parts)
