"""One job, read from top to bottom: data, θ0, truth, influence, agreement, files.

`run` is the job. The functions below it are its steps, in order. What jobs share (tokens, models,
losses, parts of methods' results) is kept in a `Store`, so a job computes only what is missing.
"""

import json
import logging
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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

from untrac_exp.config.parallel import parallel_of
from untrac_exp.config.schema import job_overrides
from untrac_exp.data.base import Corpus, TestSet
from untrac_exp.methods.base import Checkpoint, Loader, Method, Size, Sizes, Subject
from untrac_exp.methods.common.budget import Round, attribute, budget_s
from untrac_exp.models.rate import flops, model_rate
from untrac_exp.models.source import ModelSource
from untrac_exp.models.weights import ALL, select_weights
from untrac_exp.report import result_files as files
from untrac_exp.report.callback import JOBS, STARTED
from untrac_exp.report.live import log_round
from untrac_exp.report.loggers import Logger
from untrac_exp.report.terminal import print_job
from untrac_exp.runtime import processes
from untrac_exp.runtime.cost import Meter, reset_peaks
from untrac_exp.runtime.parallel import Parallel
from untrac_exp.runtime.progress import duration
from untrac_exp.stages.inputs import Inputs, encode_inputs
from untrac_exp.stages.pretraining import PretrainingSettings
from untrac_exp.stages.trainer import quiet
from untrac_exp.stages.training import ModelSpec, Trained, Training
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
_LONG_S, _SLOWEST = 600, 1e9
"""Seconds from which on a method's run is long, and FLOP/s that every machine reaches."""
_INTERRUPTIBLE_TOKENS = 1024
"""Largest micro-batch on a CPU with a budget."""


class Results(NamedTuple):
    """What a job has computed after a round; truth and changes are None with truth=none."""

    attributed: Round
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
    logger = (instantiate(cfg.logger) if processes.is_first() else None) or Logger()
    prepare_process(cfg.threads)
    processes.join(cfg.trainer.devices)
    parallel = Parallel() if _has_budget(cfg) else parallel_of(cfg)
    job_code(cfg)  # hash the code now, as imported; it may be edited while data are prepared
    began = processes.broadcast(float(os.environ.get(STARTED, time.time())))
    method = HydraConfig.get().runtime.choices["method"]
    inputs = load(cfg, Store(cfg.store, cfg.force, began, method, parallel))
    key = fingerprint(job_key(cfg, inputs))
    if processes.broadcast(not cfg.force and is_finished(outdir, key)):
        log.info("%s: the results are already there (force=true runs it again)", outdir)
    else:
        if cfg.force:
            log.info("force=%s: %s", str(cfg.force).lower(), _FORCED[cfg.force])
        else:
            check_folder(outdir, cfg)
        with logger.job(about(cfg, method), outdir) as live:
            inputs = logged(inputs, live, cfg.train_seed)
            for results in compute(cfg, inputs, share_of_budget(cfg, inputs, began), live):
                if processes.is_first():
                    write(outdir, cfg, inputs, key, results)
        processes.barrier()
    if HydraConfig.get().mode == RunMode.RUN and processes.is_first():
        print_job(outdir)
    return relative_agreement(files.read_metrics(outdir))


def prepare_process(threads: int | None) -> None:
    """Set the number of CPU threads of this process and silence libraries."""
    quiet()
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
    settings: PretrainingSettings = instantiate(cfg.pretraining)
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
    cfg: DictConfig, inputs: Inputs, left_s: float | None = None, live: Logger | None = None
) -> Iterator[Results]:
    """Train and compute what the store lacks; yield the results after each round of a budget."""
    live = live or Logger()
    method = instantiate(cfg.method)  # fail early: the truth may take hours
    # truth=none is an empty node
    truth: Truth | None = instantiate(cfg.truth) if cfg.truth else None
    changes = None if truth is None else truth.changes(inputs.training, inputs.subsets)
    theta0 = inputs.training.model_spec(cfg.train_seed)
    # train before the method's meter starts; a collective call of all ranks
    folder = theta0.folder() if isinstance(theta0, Trained) else None
    if folder is not None:
        live.theta0(folder)
        live.artifact("theta0", [folder])
    if truth is not None:
        live.artifact("truth", truth.folders(inputs.training, inputs.subsets))
    for attributed in run_method(method, cfg, inputs, left_s):
        yield Results(attributed, folder, truth, changes)


def logged(inputs: Inputs, live: Logger, train_seed: int) -> Inputs:
    """Return the inputs with the curves of θ0's training and of unlearning sent to a logger."""
    live.artifact("data", list(inputs.training.corpora.values()), is_input=True)
    subsets = Counter(subset.testset for subset in inputs.subsets)
    training = replace(inputs.training, loggers={train_seed: live.theta0_logger})
    return replace(inputs, training=training, on_curves=partial(live.curves, subsets=subsets))


def run_method(
    method: Method, cfg: DictConfig, inputs: Inputs, left_s: float | None = None
) -> Iterator[Round]:
    """Yield a method's influences, or those of each round within a time budget.

    left_s: seconds for this method; None for no limit.
    """
    end, meter = time.time() + (left_s or 0.0), Meter()
    subject = make_subject(cfg, inputs, inputs.training.model_spec(cfg.train_seed), meter)
    meter.stop()
    name = inputs.training.store.method
    budget = None if left_s is None else budget_s(cfg.budget, inputs.training.trainer.device)
    if budget is None:
        _warn_if_long(name, method, subject)
    elif subject.model.device.type == "cpu":  # Ctrl-C waits for a backward pass to end
        subject = replace(subject, max_tokens=min(subject.max_tokens, _INTERRUPTIBLE_TOKENS))
    for attributed in attribute(method, subject, budget, end):
        if budget is not None:
            log_round(name, attributed)
        yield attributed


def share_of_budget(cfg: DictConfig, inputs: Inputs, began: float) -> float | None:
    """Return the seconds of this job: an equal part of what the jobs before it have left."""
    budget = budget_s(cfg.budget, inputs.training.trainer.device)
    if budget is None:
        return None
    hydra = HydraConfig.get()
    place = hydra.job.num if hydra.mode == RunMode.MULTIRUN else 0
    later = int(os.environ.get(JOBS, 1)) - place
    for_report = min(20.0, 0.08 * budget)
    left = began + budget - for_report - time.time()
    return processes.broadcast(max(0.0, left) / max(1, later))


def _warn_if_long(name: str, method: Method, subject: Subject) -> None:
    """Warn of a run that is expected to take over ten minutes."""
    corpora = {name: Size.of(data) for name, data in subject.corpora.items()}
    subsets = {name: Size.of(data) for name, data in subject.subsets.items()}
    tokens = method.tokens(Sizes(corpora, subsets, len(subject.checkpoints)))
    cost = flops(*tokens, subject.model.num_parameters())
    if cost > _LONG_S * _SLOWEST and (seconds := cost / model_rate(subject.model)) > _LONG_S:
        log.warning(
            "%s: takes about %s as measured here; fewer texts (n_per_corpus), shorter ones "
            "(model.block_size) or another method take less", name, duration(seconds),
        )  # fmt: skip


def make_subject(cfg: DictConfig, inputs: Inputs, theta0: ModelSpec, meter: Meter) -> Subject:
    """Sample each corpus with `cfg.seed`; θ0 is loaded on first use."""
    training = inputs.training
    rates = cfg.pretraining.optimizer.lr, training.settings
    checkpoints = [
        # named by its step; the rate is that of the step before
        Checkpoint(path, rates[0] * rates[1].schedule(int(path.stem) - 1, rates[1].steps))
        for path in theta0.checkpoints()
    ]
    data = [*inputs.subsets.values(), *training.data.values()]
    largest = max(int(max(tokens.input_ids.max(), tokens.labels.max())) for tokens in data)
    return Subject(
        load=Loader(partial(_load, training, theta0, cfg.method.get("weights", ALL), largest)),
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
        on_curves=inputs.on_curves,
        trained_on=training.data,
    )


def _load(training: Training, theta0: ModelSpec, weights: str, largest: int) -> PreTrainedModel:
    """Load θ0 for a method; largest: the largest token of the data.

    It stays on the CPU if other processes compute with it.
    """
    reset_peaks()
    model = training.source.for_unlearning(theta0.load(training.source.attention))
    select_weights(model, weights)
    size = model.get_input_embeddings().num_embeddings
    if largest >= size:
        raise ValueError(
            f"the tokenizer gives token {largest} and the model knows {size} tokens; use the "
            "tokenizer that the model was trained with"
        )
    return model.to(training.trainer.device) if training.store.parallel.is_here(1) else model


def _has_budget(cfg: DictConfig) -> bool:
    """Return whether a time budget applies on this device."""
    if cfg.budget is None:
        return False
    quiet()
    return budget_s(cfg.budget, instantiate(cfg.trainer).device) is not None


def write(outdir: Path, cfg: DictConfig, inputs: Inputs, key: str, results: Results) -> None:
    """Write the result files; metrics.json is last and marks the job as finished."""
    attributed, theta0, truth, changes = results
    answer = attributed.influences
    warnings = list(answer.warnings)
    tables = {
        "scores": with_intervals(answer),
        "trajectory": answer.trajectory,
        "own_loss": answer.own_loss,
    }
    if truth is None and answer.changes:
        tables_of_evidence, more_warnings = evidence(answer, attributed.rows, inputs)
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
            **about(cfg, inputs.training.store.method),
            "over": None if truth is None else truth.over,
            "agreement": agreed,
            **noise,
            "cost": attributed.cost.as_dict(),
            "budget_s": budget_s(cfg.budget, inputs.training.trainer.device),
            "rounds": attributed.rounds,
            "warnings": warnings,
            "theta0": None if theta0 is None else str(theta0),
            "fingerprint": key if attributed.is_last else None,  # else the same command goes on
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    )
    log.info("wrote %s", outdir)


def about(cfg: DictConfig, method: str) -> dict[str, Any]:
    """Return what identifies a job: its settings and the code that runs it."""
    return {
        "experiment": cfg.name,
        "method": method,
        "overrides": job_overrides(HydraConfig.get()),
        "tags": list(cfg.tags),
        "seed": cfg.seed,
        "train_seed": cfg.train_seed,
        "scale": cfg.scale,
        "versions": versions(),
        "git_commit": _git_commit(),
        "config": plain(cfg),
    }


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
    return settings


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
