"""One job, read from top to bottom: data, θ0, truth, influence, agreement, files.

`run` is the job. The functions below it are its steps, in order. What jobs share (tokens, models,
losses, parts of methods' results) is kept in a `Store`, so a job computes only what is missing.
"""

import json
import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from untrac_exp.config.schema import job_overrides, number_of_jobs
from untrac_exp.data.base import Corpus, TestSet
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Checkpoint, Influences, Method, Subject
from untrac_exp.methods.common.anytime import Refined, TooLittleTimeError, refine
from untrac_exp.methods.common.deadline import budget_s
from untrac_exp.methods.common.rate import forecast
from untrac_exp.models.source import ModelSource
from untrac_exp.models.weights import ALL, select_weights
from untrac_exp.report import result_files as files
from untrac_exp.report.live import board
from untrac_exp.report.terminal import print_job
from untrac_exp.runtime import processes, workers
from untrac_exp.runtime.cost import Meter, reset_peaks
from untrac_exp.runtime.progress import duration
from untrac_exp.stages.inputs import Inputs, encode_inputs
from untrac_exp.stages.trainer import quiet
from untrac_exp.stages.training import ModelSpec, Pretraining, Trained, Training
from untrac_exp.statistics.agreement import agreement, ceilings, load_statistics, truth_mean
from untrac_exp.statistics.evidence import evidence
from untrac_exp.statistics.intervals import with_intervals
from untrac_exp.store import Store, fingerprint
from untrac_exp.store.artifact import versions
from untrac_exp.store.code import code_fingerprint, targets
from untrac_exp.truth.models import Truth

log = logging.getLogger(__name__)

_FORCED = {
    True: "the method's parts are computed again; tokens, θ0 and truth are kept (force=all "
    "rebuilds them)",
    "all": "tokens, θ0, truth and the method's parts are computed again",
}
_IGNORED_KEYS = (
    *("outputs", "store", "force", "logger", "tags", "debug", "threads", "parallel"),
    *("plan", "plan_flops_per_s"),
)
"""Keys that do not affect results."""
_IGNORED_IF_NULL = ("n_tokens_per_corpus", "budget")
"""Keys left out of the job key if null, so that results from before they existed stay valid."""
_STATISTICS = (
    "data.duplicates",
    "statistics.agreement",
    "statistics.evidence",
    "statistics.ranking",
)
"""Modules that compute a job's result files from the output of its method."""
_COVERED_BY_THETA0 = (
    *("path", "revision", "safetensors_only", "trust_remote_code"),
    *("block_size", "gradient_checkpointing", "n_parameters"),
)
"""Model keys that determine only weights or tokens, which store keys identify by content."""
_MOST_AT_ONCE = 1024
"""Largest micro-batch in tokens on a CPU with a budget, so that a pass can be interrupted soon."""
_REPORT_S = 20.0
"""Seconds of the budget reserved for the report."""


class Results(NamedTuple):
    """What a job has computed; truth and changes are None with truth=none."""

    refined: Refined
    meter: Meter
    theta0: Path | None
    truth: Truth | None
    changes: pd.DataFrame | None


def run(cfg: DictConfig) -> float | None:
    """Run one job, from its configuration to its result files.

    Returns:
        The mean agreement as a share of the attainable, as in `relative_agreement`.
    """
    outdir = Path(HydraConfig.get().runtime.output_dir)
    load_statistics(cfg.statistics)  # fail early
    many = 1 if _has_budget(cfg) else workers.number(cfg.trainer, cfg.threads)
    prepare_process(cfg, many)
    processes.join(cfg.trainer.devices)
    if many > 1 and processes.is_distributed():
        raise ValueError(
            f"trainer.workers={many}: processes that torchrun starts work on one model; use "
            "trainer.workers=1, or start without torchrun"
        )
    job_code(cfg)  # hash the code now, as imported; it may be edited while data are prepared
    began = _began()
    method = HydraConfig.get().runtime.choices["method"]
    inputs = load(cfg, Store(cfg.store, cfg.force, began, method))
    key = fingerprint(job_key(cfg, inputs))
    stopped = False
    if processes.broadcast(not cfg.force and is_finished(outdir, key)):
        log.info("%s: the results are already there (force=true runs it again)", outdir)
    else:
        if cfg.force:
            log.info("force=%s: %s", str(cfg.force).lower(), _FORCED[cfg.force])
        else:
            check_folder(outdir, cfg)
        with workers.on_demand(many, _work, cfg, began, method, many) as start_workers:
            inputs.training.store.start_workers = start_workers
            try:
                results = compute(cfg, inputs, began, _place_in_sweep())
            except TooLittleTimeError as error:
                log.warning("%s is left out: %s; raise budget=%s", outdir, error, cfg.budget)
                return None
        stopped = results.refined.interrupted
        if processes.is_first():
            # no key for an interrupted job, so that the same command resumes it
            write(outdir, cfg, inputs, None if stopped else key, results)
            if (logger := instantiate(cfg.logger)) is not None:
                logger(outdir=outdir)
        processes.barrier()
    if HydraConfig.get().mode == RunMode.RUN and processes.is_first():
        print_job(outdir)
    if stopped:
        raise KeyboardInterrupt
    return relative_agreement(files.read_metrics(outdir))


def prepare_process(cfg: DictConfig, workers_of_job: int = 1) -> None:
    """Set the number of threads of this process and silence libraries."""
    quiet()
    threads = workers.threads_of_each(cfg.trainer, cfg.threads, workers_of_job)
    if threads is not None:
        torch.set_num_threads(threads)


def load(cfg: DictConfig, store: Store) -> Inputs:
    """Load and tokenize the configured corpora and test sets."""
    corpora, testsets, source = map(instantiate, (cfg.corpora, cfg.testset, cfg.model))
    return encode_data(cfg, corpora, testsets, source, store)


def encode_data(
    cfg: DictConfig,
    corpora: Sequence[Corpus],
    testsets: Sequence[TestSet],
    source: ModelSource,
    store: Store,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Inputs:
    """Tokenize these corpora and test sets with the configured sizes; see `encode_inputs`."""
    settings: Pretraining = instantiate(cfg.pretraining)
    if settings.steps == 0 and cfg.truth:
        raise ValueError("truth: pretraining.steps=0 trains no model to compare; use truth=none")
    return encode_inputs(
        corpora,
        testsets,
        source,
        settings,
        plain(cfg.pretraining),
        instantiate(cfg.trainer),
        store,
        n_per_corpus=cfg.n_per_corpus,
        n_tokens_per_corpus=cfg.n_tokens_per_corpus,
        max_sequences=cfg.max_sequences or {},
        seed=cfg.seed,
        tokenizer=tokenizer,
    )


def compute(
    cfg: DictConfig, inputs: Inputs, began: float, place: tuple[int, int] = (0, 1)
) -> Results:
    """Train and compute what the store lacks; place: as returned by `_place_in_sweep`."""
    method = instantiate(cfg.method)  # fail early: the truth may take hours
    # truth=none is an empty node
    truth: Truth | None = instantiate(cfg.truth) if cfg.truth else None
    changes = None if truth is None else truth.changes(inputs.training, inputs.subsets)
    theta0 = inputs.training.model_spec(cfg.train_seed)
    # train before the method's meter starts; a collective call of all ranks
    folder = theta0.folder() if isinstance(theta0, Trained) else None
    meter = Meter()
    return Results(
        run_method(method, cfg, inputs, meter, began, *place), meter, folder, truth, changes
    )


def _work(cfg: DictConfig, began: float, method: str, workers: int) -> None:
    """Do the same in a worker process, which leaves its results in the store."""
    prepare_process(cfg, workers)
    compute(cfg, load(cfg, Store(cfg.store, cfg.force, began, method)), began)


def run_method(
    method: Method,
    cfg: DictConfig,
    inputs: Inputs,
    meter: Meter,
    began: float | None = None,
    job: int = 0,
    of: int = 1,
) -> Refined:
    """Compute the influences of one method within `cfg.budget`, if it is set.

    Args:
        method: the attribution method.
        cfg: the job's configuration.
        inputs: its corpora and test subsets, as tokens.
        meter: adds up the cost.
        began: start of the command in seconds since the epoch, if a report follows; None for now.
        job: index of this job among those that share the budget. Each gets an equal part of what
            the jobs before it have left.
        of: number of those jobs.
    """
    started = time.time()
    device = inputs.training.trainer.device
    if (budget := budget_s(cfg.budget, device)) is None:
        return Refined(influences(method, cfg, inputs, meter))
    subject = make_subject(cfg, inputs, inputs.training.model_spec(cfg.train_seed), meter)
    if device.type == "cpu":  # a signal is handled only between passes
        subject = replace(subject, max_tokens=min(subject.max_tokens, _MOST_AT_ONCE))
    reserve = 0.0 if began is None else min(_REPORT_S, 0.08 * budget)
    left = processes.broadcast((began or started) + budget - reserve - time.time())
    share = duration(max(0.0, left / (of - job)))
    name = inputs.training.store.method
    log.info("%s: the weights are loaded; it has %s of the budget", name, share)
    with board(name, budget) as told:
        end = time.time() + left / (of - job)
        return refine(method, subject, budget, end, told, must=job == 0)


def influences(method: Method, cfg: DictConfig, inputs: Inputs, meter: Meter) -> Influences:
    """Compute the influences of one method without a time budget."""
    subject = make_subject(cfg, inputs, inputs.training.model_spec(cfg.train_seed), meter)
    if (warning := forecast(method, subject)) is not None:
        log.warning("%s: %s", inputs.training.store.method, warning)
    answer = method.influences(subject)
    meter.stop()
    return replace(answer, relative_error=method.relative_error)


def make_subject(cfg: DictConfig, inputs: Inputs, theta0: ModelSpec, meter: Meter) -> Subject:
    """Load θ0 onto its device and sample each corpus with `cfg.seed`."""
    training = inputs.training
    rates = cfg.pretraining.optimizer.lr, training.settings
    checkpoints = [
        # named by its step; the rate is that of the step before
        Checkpoint(path, rates[0] * rates[1].schedule(int(path.stem) - 1, rates[1].steps))
        for path in theta0.checkpoints()
    ]
    reset_peaks()
    model = training.source.for_unlearning(theta0.load(training.source.attention))
    select_weights(model, cfg.method.get("weights", ALL))
    _check_vocabulary(model, [*inputs.subsets.values(), *training.data.values()])
    return Subject(
        model=model.to(training.trainer.device),
        corpora={
            name: tokens.sample(cfg.n_per_corpus, cfg.seed)
            for name, tokens in training.data.items()
        },
        subsets=inputs.subsets,
        checkpoints=checkpoints,
        trainer=training.trainer,
        store=training.store,
        key=part_key(cfg, training, theta0),
        outside_sample=partial(inputs.outside_sample, cfg.n_per_corpus, cfg.seed),
        seed=cfg.seed,
        max_tokens=training.trainer.max_tokens,
        meter=meter,
        trained_on=training.data,
    )


def _check_vocabulary(model: PreTrainedModel, datasets: Sequence[Encoded]) -> None:
    size = model.get_input_embeddings().num_embeddings
    largest = max(int(max(data.input_ids.max(), data.labels.max())) for data in datasets)
    if largest >= size:
        raise ValueError(
            f"the tokenizer gives token {largest} and the model knows {size} tokens; use the "
            "tokenizer that the model was trained with"
        )


def _began() -> float:
    """Return the start of the command in seconds since the epoch, the same for all jobs of a sweep.

    With `force`, artifacts older than this are built again, once for all jobs that share them.
    """
    return processes.broadcast(float(HydraConfig.get().callbacks["report"]["started"]))


def _has_budget(cfg: DictConfig) -> bool:
    """Return whether a time budget applies on this device."""
    if cfg.budget is None:
        return False
    quiet()
    return budget_s(cfg.budget, instantiate(cfg.trainer).device) is not None


def _place_in_sweep() -> tuple[int, int]:
    """Return the index of this job in its sweep, and the number of jobs."""
    hydra = HydraConfig.get()
    sweep = Path(hydra.sweep.dir) / "multirun.yaml"  # Hydra's own sweeper writes it before the jobs
    if hydra.mode != RunMode.MULTIRUN or not sweep.exists():
        return 0, 1
    return hydra.job.num, number_of_jobs(OmegaConf.load(sweep).hydra)


def write(outdir: Path, cfg: DictConfig, inputs: Inputs, key: str | None, results: Results) -> None:
    """Write the result files; metrics.json is last and marks the job as finished."""
    refined, meter, theta0, truth, changes = results
    answer = refined.answer
    warnings = list(answer.warnings)
    tables = {
        "scores": with_intervals(answer),
        "trajectory": answer.trajectory,
        "own_loss": answer.own_loss,
    }
    if truth is None and answer.changes:
        tables_of_evidence, more_warnings = evidence(answer, refined.places, inputs)
        warnings += more_warnings
        tables |= tables_of_evidence
    for name, table in tables.items():
        if table is not None:
            files.write(outdir, name, table)
    agreed: dict[str, dict[str, float]] | None = None
    statistics = load_statistics(cfg.statistics)
    actual = pd.DataFrame(columns=files.TRUTH)
    if truth is not None and changes is not None:
        files.write(outdir, "truth", truth.influences(changes, list(inputs.training.corpora)))
        if (changes["without"].map(len) > 1).any():
            names = [json.dumps(names, ensure_ascii=False) for names in changes["without"]]
            files.write(outdir, "models", changes.assign(without=names))
        predicted, actual = truth.compared(answer.scores, changes)
        agreed = agreement(predicted, truth_mean(actual), warnings.append, statistics)
    noise = ceilings(actual, warnings.append, statistics)
    files.write_metrics(
        outdir,
        {
            "experiment": cfg.name,
            "method": inputs.training.store.method,
            "overrides": job_overrides(HydraConfig.get()),
            "tags": list(cfg.tags),
            "seed": cfg.seed,
            "train_seed": cfg.train_seed,
            "scale": cfg.scale,
            "over": None if truth is None else truth.over,
            "agreement": agreed,
            **noise,
            "cost": meter.as_dict(),
            **({} if refined.rounds is None else {"rounds": refined.rounds}),
            "warnings": warnings,
            "theta0": None if theta0 is None else str(theta0),
            "fingerprint": key,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "versions": versions(),
            "git_commit": _git_commit(),
            "config": plain(cfg),
        },
    )
    log.info("wrote %s", outdir)


def _git_commit() -> str | None:
    """Return the commit of the checkout; None if the package is installed."""
    done = subprocess.run(
        ["git", "-C", Path(__file__).parent, "rev-parse", "HEAD"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or None


def job_key(cfg: DictConfig, inputs: Inputs) -> dict[str, Any]:
    """Return everything that a job's results depend on."""
    return {"config": _settings(plain(cfg)), "data": inputs.key, "code": job_code(cfg)}


def job_code(cfg: DictConfig) -> str:
    """Return the hash of the code that a job runs."""
    answers = [f"untrac_exp.{module}" for module in _STATISTICS]
    answers += [path.rpartition(".")[0] for path in cfg.statistics.values()]
    return code_fingerprint([Training.__module__, *answers, *targets(_settings(plain(cfg)))])


def part_key(cfg: DictConfig, training: Training, theta0: ModelSpec) -> dict[str, Any]:
    """Return what the parts of a method's result depend on, besides their data and the seed."""
    method, model = plain(cfg.method), plain(cfg.model)
    settings = {name: value for name, value in model.items() if name not in _COVERED_BY_THETA0}
    return {
        "theta0": theta0.id,
        "method": method,
        "model": settings,
        "precision": training.trainer.precision,
        **({"compile": True} if training.trainer.compile else {}),
        "code": code_fingerprint([*targets(method), type(training.source).__module__]),
    }


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that affects results."""
    settings = {
        key: value
        for key, value in config.items()
        if key not in _IGNORED_KEYS and not (value is None and key in _IGNORED_IF_NULL)
    }
    trainer = settings.get("trainer") or {}
    return settings | {"trainer": {key: trainer[key] for key in trainer if key != "workers"}}


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Convert a node to plain Python values, with interpolations resolved."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def is_finished(outdir: Path, key: str) -> bool:
    """Return whether `outdir` has the results of the job with this key (a fingerprint)."""
    exists = (outdir / "metrics.json").exists()
    return exists and files.read_metrics(outdir).get("fingerprint") == key


def check_folder(outdir: Path, cfg: DictConfig) -> None:
    """Check that `outdir` has no results of other settings, which this job would overwrite.

    Raises:
        ValueError: it has.
    """
    if not (outdir / "metrics.json").exists():
        return
    stored = _settings(files.read_metrics(outdir).get("config") or {})
    ours = _settings(files.plain(plain(cfg)))
    keys = {*stored, *ours} - {"budget"}  # a larger budget goes on in the same folder
    if other := [key for key in sorted(keys) if stored.get(key) != ours.get(key)]:
        raise ValueError(
            f"{outdir} has results of other settings ({', '.join(other)}); keep them with another "
            "name=…, or overwrite them with force=true"
        )


def relative_agreement(metrics: Mapping[str, Any]) -> float | None:
    """Return Pearson's correlation with the truth as a share of the attainable ceiling.

    The mean over test sets; None if it is undefined for one of them, or without a truth.
    """
    shares = []
    for testset, values in (metrics["agreement"] or {}).items():
        ceiling = metrics["attainable"][testset]
        if values["pearson"] is None or not ceiling:
            return None
        shares.append(values["pearson"] / ceiling)
    return sum(shares) / len(shares) if shares else None
