"""`plan=true`: estimate what a job computes and costs, without network, GPU or downloads.

If corpora, test sets and tokenizer are on this machine, they are encoded as in the job, so steps,
tokens and what the store has already are exact. Otherwise sizes are estimated from the
configuration and marked with "~".
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from untrac_exp.config.checks import check
from untrac_exp.config.schema import config_dir, parse_overrides, shrink
from untrac_exp.job import is_finished, job_key, load, plain, prepare_process
from untrac_exp.methods.base import Method, Size, Subset, Work
from untrac_exp.methods.common.rate import plan_rate
from untrac_exp.models.source import ModelSource
from untrac_exp.report.guess import downloads, guessed_corpora, guessed_subsets
from untrac_exp.report.plan import print_plan
from untrac_exp.report.result_files import write_text
from untrac_exp.stages.inputs import Inputs
from untrac_exp.store import Force, Store, fingerprint
from untrac_exp.truth.models import Truth, named

_SHARED = (
    *("corpora", "testset", "model", "max_sequences", "n_per_corpus", "n_tokens_per_corpus"),
    *("pretraining", "trainer", "store"),
)
"""Keys that the sizes of data and model depend on."""


@dataclass(frozen=True)
class Artifact:
    """Tokens, a model, its losses, or a method's scores.

    id: the same in jobs that share it. steps: of the optimizer. forward, backward: tokens, counted
    as in `Meter`; None if unknown. size: bytes in the store. there: whether it exists already; None
    if unknown. parts: number of devices that can compute it in parallel.
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
class Sizes:
    """Sizes of data and model, which jobs share.

    summary: what a job's plan says of them, see `_sizes`. data: None if some must be downloaded.
    """

    corpora: Mapping[str, Size]
    subsets: Mapping[Subset, Size]
    summary: Mapping[str, Any]
    tokens: Sequence[Artifact] = ()
    data: Inputs | None = None


class ReadOnlyStore(Store):
    """A store that is only read; what it lacks is built in a temporary one, `beside`."""

    def __init__(self, root: str, force: Force, beside: str) -> None:
        super().__init__(root, force)
        self.beside = Store(beside)

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        return self.find(kind, key) or self.beside.get(kind, key, build)


def plan(arguments: Sequence[str], multirun: bool = False) -> None:
    """Print the plan of the job or sweep with these overrides.

    Also writes the plans of its jobs to `plan.json` in the folder of the sweep or job.

    Args:
        arguments: overrides of the command line.
        multirun: whether the command has Hydra's `-m`.
    """
    plans: list[dict[str, Any]] = []
    known: dict[str, Sizes] = {}
    with (
        initialize_config_dir(str(config_dir()), job_name="untrac_exp", version_base="1.3"),
        TemporaryDirectory(prefix="untrac-plan-") as beside,
    ):
        for cfg, folder, outdir in _jobs(arguments, multirun):
            prepare_process(cfg)
            settings = plain(cfg)
            # without training, the seed samples the corpora before they are tokenized
            names = [*_SHARED, "seed"] if cfg.pretraining.steps == 0 else _SHARED
            key = fingerprint({name: settings[name] for name in names})
            sizes = known.get(key) or known.setdefault(key, _sizes(cfg, beside))
            scores = _scores(cfg, sizes, outdir)
            truth = instantiate(cfg.truth) if cfg.truth else None  # truth=none is an empty node
            artifacts = map(asdict, (*sizes.tokens, *_models(cfg, sizes, truth), scores))
            plans.append({"job": scores.name, **sizes.summary, "artifacts": [*artifacts]})
            file = folder / "plan.json"
    write_text(file, json.dumps(plans, indent=1) + "\n")
    print_plan(plans, f"{cfg.name} at {cfg.scale} scale")


def _jobs(arguments: Sequence[str], multirun: bool) -> Iterator[tuple[DictConfig, Path, Path]]:
    """Yield each job's configuration, the folder of the sweep (or single job), and the job's.

    The `hydra` node is taken out of the configuration.
    """
    single = [
        str(one.input_line) for one in parse_overrides(arguments) if not one.is_sweep_override()
    ]
    hydra = compose("config", single, return_hydra_config=True).hydra
    is_sweep = multirun if hydra.mode is None else hydra.mode == RunMode.MULTIRUN
    axes = hydra.sweeper.params.items() if is_sweep else ()
    choices: dict[str, list[str]] = {}
    for one in parse_overrides([*(f"{key}={values}" for key, values in axes), *arguments]):
        key, is_axis = one.get_key_element(), is_sweep and one.is_sweep_override()
        values = [f"{key}={value}" for value in one.sweep_string_iterator()] if is_axis else []
        choices[key] = values or [str(one.input_line)]
    for job in product(*choices.values()):
        cfg = compose("config", [*job], return_hydra_config=True)
        outdir = Path(cfg.hydra.run.dir)  # also of a job of a sweep, see conf/config.yaml
        folder = Path(cfg.hydra.sweep.dir) if is_sweep else outdir
        with open_dict(cfg):
            del cfg["hydra"]
        if cfg.debug:
            shrink(cfg)
        check(cfg, job)
        yield cfg, folder, outdir


def _sizes(cfg: DictConfig, beside: str) -> Sizes:
    """Count sizes, or estimate them if data must be downloaded. beside: folder of a store."""
    data = tokenizer = None
    if found := dict(downloads(plain(cfg))):
        source: ModelSource = instantiate(cfg.model)
        corpora: Mapping[str, Size] = guessed_corpora(cfg, source)
        subsets: Mapping[Subset, Size] = guessed_subsets(plain(cfg.testset))
        each = 8 * source.block_size + 4  # bytes of a sequence
        tokens = [
            Artifact("tokens", name, f"tokens {name}", size=len(corpus) * each)
            for name, corpus in corpora.items()
        ]
    else:
        data = load(cfg, ReadOnlyStore(cfg.store, cfg.force, beside))
        training, corpora, subsets = data.training, data.training.data, data.subsets
        source, tokenizer = training.source, training.tokenizer
        tokens = [
            Artifact(
                "tokens", name, folder.name,
                size=sum(file.stat().st_size for file in folder.iterdir()),
                there=folder.is_relative_to(training.store.root),
            )
            for name, folder in training.corpora.items()
        ]  # fmt: skip
    parameters = source.parameters(None if tokenizer is None else len(tokenizer))
    rate, measured = plan_rate(cfg, source, tokenizer, parameters)
    summary = {
        "exact": not found,  # counted rather than estimated
        "parameters": parameters,  # of the model; None if unknown
        "flops_per_s": rate,
        "measured": measured,  # on this machine
        "downloads": found,  # key of the configuration -> what it names
    }
    return Sizes(corpora, subsets, summary, tokens, data)


def _models(cfg: DictConfig, sizes: Sizes, truth: Truth | None) -> Iterator[Artifact]:
    """Yield θ0 and the models of a truth, with the losses that it needs."""
    settings, corpora, data = cfg.pretraining, sizes.corpora, sizes.data
    evaluated = [] if truth is None else truth.models(list(corpora))
    budget = "steps" if truth is None else truth.budget
    done: dict[tuple[int, tuple[str, ...]], bool] = {}
    if data is not None and truth is not None:
        jobs = truth.jobs(data.training, data.subsets)
        done = {(one.seed, one.without): one.is_done for one in jobs}
    n, read = sum(map(len, corpora.values())), sum(corpus.read for corpus in corpora.values())
    wanted = [(cfg.train_seed, ()), *evaluated] if settings.steps else []
    for seed, without in dict.fromkeys(wanted):
        name = f"{named(without)}, train seed {seed}"
        kept = n - sum(len(corpora[one]) for one in without)
        steps, id_, there = settings.steps, f"{name} {truth}", None
        if without and budget == "epochs":
            steps = max(1, round(steps * kept / n))
        if data is not None:
            store, key = data.training.store, data.training.model_spec(seed, without, budget).key
            id_, there = store.path("model", key).name, store.find("model", key) is not None
        tokens = steps * min(settings.batch_size, kept) * read // n
        # float32 weights, and θ0's checkpoints
        copies = 1 + (0 if without else steps // settings.checkpoint_every)
        size = 4 * (sizes.summary["parameters"] or 0) * copies
        yield Artifact("model", name, id_, steps, tokens, tokens, size, there)
        if (seed, without) in evaluated:
            tokens = sum(subset.read for subset in sizes.subsets.values())
            yield Artifact("losses", name, id_, 0, tokens, there=done.get((seed, without)))


def _scores(cfg: DictConfig, sizes: Sizes, outdir: Path) -> Artifact:
    """Return the scores of the job that writes its files to `outdir`."""
    method: Method = instantiate(cfg.method)
    name = outdir.relative_to(Path(cfg.outputs, cfg.name, cfg.scale)).as_posix()
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
    return Artifact("scores", name, f"scores {name}", 0, forward, backward, 0, there, parts)
