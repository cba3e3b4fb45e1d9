"""One job, read from top to bottom: data, θ0, truth, influence, agreement, files.

`run` is the job. The functions below it are its steps, in order. What jobs share (tokens, models,
losses, parts of methods' results) is kept in a `Store`, so a job computes only what is missing.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig
from transformers import PreTrainedModel

from untrac_exp.config.parallel import parallel_of
from untrac_exp.config.schema import plain
from untrac_exp.data.sources import local
from untrac_exp.methods.base import Candidate, Checkpoint, Method, Subject
from untrac_exp.methods.common.budget import Round, attribute, budget_s, log_round
from untrac_exp.methods.common.loader import Loader
from untrac_exp.models.loss import TOKENS
from untrac_exp.report.callback import JOBS, STARTED
from untrac_exp.report.collect import collect
from untrac_exp.report.job_files import (
    Results,
    about,
    check_folder,
    is_finished,
    job_code,
    job_key,
    write_results,
)
from untrac_exp.report.loggers import Logger
from untrac_exp.report.terminal import print_sweep
from untrac_exp.runtime import processes
from untrac_exp.runtime.cost import Meter, reset_peaks
from untrac_exp.runtime.parallel import Parallel
from untrac_exp.stages.inputs import Inputs, encode_inputs
from untrac_exp.stages.trainer import quiet
from untrac_exp.stages.training import ModelSpec, Training
from untrac_exp.statistics.agreement import load_statistics
from untrac_exp.store import Store, fingerprint
from untrac_exp.store.code import code_fingerprint, package_fingerprint, targets
from untrac_exp.truth.models import Truth

log = logging.getLogger(__name__)

_COVERED_BY_THETA0 = (
    *("path", "revision", "safetensors_only", "trust_remote_code"),
    *("block_size", "n_parameters", "end_of_input"),
)
"""Model keys that determine only weights or tokens, which store keys identify by content."""
_OF_THETA0 = ("untrac_exp.methods.common.theta0", "untrac_exp.methods.common.scores")
"""Modules that compute the losses of θ0, which methods share."""
_INTERRUPTIBLE_TOKENS = 1024
"""Largest micro-batch on a CPU with a budget."""


def run(cfg: DictConfig) -> float | None:
    """Run one job, from its configuration to its result files.

    Returns:
        The agreement with the truth, as in `Sweep.relative`.
    """
    outdir = Path(HydraConfig.get().runtime.output_dir)
    load_statistics(cfg.statistics)  # fail early
    logger = (instantiate(cfg.logger) if processes.is_first() else None) or Logger()
    prepare_process(cfg.threads)
    processes.join(cfg.trainer.devices)
    budget = budget_s(cfg.budget, instantiate(cfg.trainer).device)
    parallel = parallel_of(cfg) if budget is None else Parallel()
    job_code(cfg)  # hash the code now, as imported; it may be edited while data are prepared
    began = processes.broadcast(float(os.environ.get(STARTED, time.time())))
    method = HydraConfig.get().runtime.choices["method"]
    inputs = load(cfg, Store(cfg.store, cfg.force, str(began), method, parallel))
    key = fingerprint(job_key(cfg, inputs))
    if processes.broadcast(not cfg.force and is_finished(outdir, key)):
        log.info("%s: the results are already there (force=true runs it again)", outdir)
    else:
        if cfg.force is True:
            log.info("force=true: tokens, θ0 and truth are kept (force=all rebuilds them)")
        if not cfg.force:
            check_folder(outdir, cfg)
        with logger.job(about(cfg, method), outdir) as live:
            inputs = logged(inputs, live, cfg.train_seed)
            for results in compute(cfg, inputs, share_of_budget(budget, began), live):
                if processes.is_first():
                    write_results(outdir, cfg, inputs, key, results)
        processes.barrier()
    sweep = collect(outdir)
    if HydraConfig.get().mode == RunMode.RUN and processes.is_first():
        print_sweep(sweep)
    return sweep.relative


def prepare_process(threads: int | None, code: str | None = None) -> None:
    """Set the number of CPU threads of this process and silence libraries.

    code: `package_fingerprint` of the process that this one works for.

    Raises:
        ValueError: this process has other code.
    """
    if code not in (None, package_fingerprint()):
        raise ValueError("the package was edited while this command ran; run it again")
    quiet()
    if threads is not None:
        torch.set_num_threads(threads)


def load(cfg: DictConfig, store: Store) -> Inputs:
    """Load and tokenize the configured corpora and test sets."""
    corpora, testsets, source = map(instantiate, (cfg.corpora, cfg.testset, cfg.model))
    paths = plain(cfg.candidates)["paths"]
    candidates = local.corpora(paths, group="candidates") if paths else []
    return encode_inputs(cfg, corpora, testsets, source, store, candidates=candidates)


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
    folder = theta0.folder()
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
    budget = None if left_s is None else budget_s(cfg.budget, inputs.training.trainer.device)
    if budget is not None and subject.model.device.type == "cpu":
        # Ctrl-C waits for a backward pass to end
        subject = replace(subject, max_tokens=min(subject.max_tokens, _INTERRUPTIBLE_TOKENS))
    for attributed in attribute(method, subject, budget, end):
        if budget is not None:
            log_round(inputs.training.store.method, attributed)
        yield attributed


def share_of_budget(budget: float | None, began: float) -> float | None:
    """Return the seconds of this job: an equal part of what the jobs before it have left."""
    if budget is None:
        return None
    hydra = HydraConfig.get()
    place = hydra.job.num if hydra.mode == RunMode.MULTIRUN else 0
    later = int(os.environ.get(JOBS, 1)) - place
    for_report = min(20.0, 0.08 * budget)
    left = began + budget - for_report - time.time()
    return processes.broadcast(max(0.0, left) / max(1, later))


def make_subject(cfg: DictConfig, inputs: Inputs, theta0: ModelSpec, meter: Meter) -> Subject:
    """Sample each corpus with `cfg.seed`; θ0 is loaded on first use."""
    training = inputs.training
    paths, schedule = theta0.checkpoints(), training.settings.schedule
    ends = [int(path.stem) for path in paths]  # named by the number of steps
    checkpoints = [
        Checkpoint(
            path,
            cfg.pretraining.optimizer.lr
            * sum(schedule(step, training.settings.steps) for step in range(start, end)),
        )
        for path, start, end in zip(paths, [0, *ends], ends, strict=False)
    ]
    added = inputs.candidate_tokens
    data = [*inputs.subsets.values(), *training.data.values(), *added.values()]
    largest = max(int(max(tokens.input_ids.max(), tokens.labels.max())) for tokens in data)
    return Subject(
        load=Loader(partial(_load, training, theta0, largest)),
        corpora={
            name: tokens.sample(cfg.n_per_corpus, cfg.seed)
            for name, tokens in training.data.items()
        },
        subsets=inputs.subsets,
        checkpoints=checkpoints,
        trainer=training.trainer,
        store=training.store,
        key=part_key(cfg, training, theta0, plain(cfg.method)),
        theta0_key=part_key(cfg, training, theta0, {}),
        seed=cfg.seed,
        max_tokens=training.trainer.max_tokens,
        meter=meter,
        on_curves=inputs.on_curves,
        trained_on=training.data,
        decode=partial(training.tokenizer.decode, skip_special_tokens=True),
        training=training,
        train_seed=cfg.train_seed,
        by_token=cfg.tokens > 0,
        candidates={
            name: Candidate(tokens.sample(cfg.n_per_corpus, cfg.seed), tokens)
            for name, tokens in added.items()
        },
    )


def _load(training: Training, theta0: ModelSpec, largest: int) -> PreTrainedModel:
    """Load θ0 for a method; largest: the largest token of the data.

    It stays on the CPU if other processes compute with it.
    """
    reset_peaks()
    model = training.source.for_unlearning(theta0.load(training.source.attention))
    size = model.get_input_embeddings().num_embeddings
    if largest >= size:
        raise ValueError(
            f"the tokenizer gives token {largest} and the model knows {size} tokens; use the "
            "tokenizer that the model was trained with"
        )
    return model.to(training.trainer.device) if training.store.parallel.is_here(1) else model


def part_key(
    cfg: DictConfig, training: Training, theta0: ModelSpec, method: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the parts of a method's result depend on, besides their data and the seed.

    method: its settings; empty for parts that methods share.
    """
    model = plain(cfg.model)
    settings = {name: value for name, value in model.items() if name not in _COVERED_BY_THETA0}
    return {
        "theta0": theta0.id,
        "method": method,
        "model": settings,
        "precision": training.trainer.precision,
        **({"compile": True} if training.trainer.compile else {}),
        **({"by_token": True} if cfg.tokens else {}),
        **({"loss": asdict(loss)} if (loss := training.trainer.loss) != TOKENS else {}),
        "code": code_fingerprint([*targets(method), type(training.source).__module__, *_OF_THETA0]),
    }
