"""The job: data, θ0, a method's influences, the truth, their agreement, a report."""

import logging
import subprocess
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig
from transformers import PreTrainedModel

from untrac_exp import __version__, processes, workers
from untrac_exp.agreement import agreement, ceilings, load_statistics, truth_mean
from untrac_exp.config import variant
from untrac_exp.cost import Meter, reset_peaks
from untrac_exp.data.base import Row
from untrac_exp.data.duplicates import shared_texts
from untrac_exp.data.encoding import Encoded
from untrac_exp.inputs import (
    Data,
    is_finished,
    job_code,
    job_key,
    load_data,
    part_key,
    plain,
    prepare_process,
)
from untrac_exp.methods.base import Checkpoint, Influences, Method, Subject, Subset
from untrac_exp.rate import forecast
from untrac_exp.report import files
from untrac_exp.report.evidence import moved, rank, weaknesses
from untrac_exp.report.terminal import print_job
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.store import Store, fingerprint
from untrac_exp.training import Recipe, Trained, Training
from untrac_exp.truth.models import Truth

log = logging.getLogger(__name__)

_FORCED = {
    True: "the method's parts are computed again; tokens, θ0 and truth are kept (force=all "
    "rebuilds them)",
    "all": "tokens, θ0, truth and the method's parts are made again",
}


def run(cfg: DictConfig) -> None:
    """One job of a sweep, from its configuration to the files it leaves."""
    outdir = Path(HydraConfig.get().runtime.output_dir)
    many = workers.number(cfg.trainer, cfg.threads)
    prepare_process(cfg, many)
    processes.join(cfg.trainer.devices)
    if many > 1 and processes.together():
        raise ValueError(
            f"trainer.workers={many}: processes that torchrun starts work on one model; use "
            "trainer.workers=1, or start without torchrun"
        )
    job_code(cfg)  # read now, as it was imported: it may be edited while the data are made
    began = _began()
    data = load_data(cfg, Store(cfg.store, cfg.force, began))
    key = job_key(cfg, data)
    if processes.agreed(not cfg.force and is_finished(outdir, fingerprint(key))):
        log.info("%s: the results are already there (force=true runs it again)", outdir)
    else:
        if cfg.force:
            log.info("force=%s: %s", str(cfg.force).lower(), _FORCED[cfg.force])
        with workers.helped(many, _help, cfg, began, many) as call_help:
            data.training.store.call_help = call_help
            found = _build(cfg, data)
        if processes.is_first():
            _write(outdir, cfg, data, fingerprint(key), found)
            _log_to(cfg, outdir)
        processes.wait()
    if HydraConfig.get().mode == RunMode.RUN and processes.is_first():
        print_job(outdir)


class Found(NamedTuple):
    """What a job has found out. theta0: where it lies; meter: what the answer has cost."""

    answer: Influences
    meter: Meter
    theta0: Path | None
    truth: Truth | None
    changes: pd.DataFrame | None


def _build(cfg: DictConfig, data: Data) -> Found:
    """Train and compute what the store lacks, as far as others do not, and read it all."""
    method = instantiate(cfg.method)  # first, for the truth may take hours
    # truth=none is an empty node
    truth: Truth | None = instantiate(cfg.truth) if cfg.truth else None
    changes = None if truth is None else truth.changes(data.training, data.subsets)
    theta0 = data.training.recipe(cfg.train_seed)
    # trained before the method's clock starts; processes ask together
    lies = theta0.folder() if isinstance(theta0, Trained) else None
    meter = Meter()
    return Found(influences(method, cfg, data, meter), meter, lies, truth, changes)


def _help(cfg: DictConfig, began: float, workers: int) -> None:
    """The same in a further process; what it finds is in the store."""
    prepare_process(cfg, workers)
    _build(cfg, load_data(cfg, Store(cfg.store, cfg.force, began)))


def _began() -> float:
    """When this job's command was given, in seconds since the epoch: a sweep's, for all its jobs.

    What is forced is built once after that, and not by every job that shares it.
    """
    hydra = HydraConfig.get()
    sweep = Path(hydra.sweep.dir) / "multirun.yaml"  # written before the first job
    began = sweep.stat().st_mtime if hydra.mode == RunMode.MULTIRUN and sweep.exists() else None
    return processes.agreed(time.time() if began is None else began)


def influences(method: Method, cfg: DictConfig, data: Data, meter: Meter) -> Influences:
    """What a method says of θ0."""
    subject = make_subject(cfg, data, data.training.recipe(cfg.train_seed), meter)
    if (said := forecast(method, subject)) is not None:
        log.warning("%s: %s", type(method).__name__, said)
    answer = method.influences(subject)
    meter.stop()
    return replace(answer, missed=method.missed)


def make_subject(cfg: DictConfig, data: Data, theta0: Recipe, meter: Meter) -> Subject:
    """θ0 on its device with the sequences that `seed` samples: what a method works on."""
    training = data.training
    checkpoints = theta0.checkpoints()
    reset_peaks()
    model = training.source.for_unlearning(theta0.load(training.source.attention))
    _check_vocabulary(model, [*data.subsets.values(), *training.data.values()])
    return Subject(
        model=model.to(_device(training.trainer)),
        corpora={
            name: tokens.sample(cfg.n_per_corpus, cfg.seed)
            for name, tokens in training.data.items()
        },
        subsets=data.subsets,
        checkpoints=[Checkpoint(path, _rate(cfg, training, path)) for path in checkpoints],
        trainer=training.trainer,
        store=training.store,
        key=part_key(cfg, training, theta0),
        further=partial(data.further, cfg.n_per_corpus, cfg.seed),
        seed=cfg.seed,
        max_tokens=training.trainer.max_tokens,
        meter=meter,
        trained_on=training.data,
    )


def _rate(cfg: DictConfig, training: Training, checkpoint: Path) -> float:
    """The learning rate of the step that led to a checkpoint, which is named by its step."""
    settings = training.settings
    return cfg.pretraining.optimizer.lr * settings.schedule(
        int(checkpoint.stem) - 1, settings.steps
    )


def _check_vocabulary(model: PreTrainedModel, datasets: Sequence[Encoded]) -> None:
    size = model.get_input_embeddings().num_embeddings
    largest = max(int(max(one.input_ids.max(), one.labels.max())) for one in datasets)
    if largest >= size:
        raise ValueError(
            f"the tokenizer gives token {largest} and the model knows {size} tokens; use the "
            "tokenizer that the model was trained with"
        )


def _device(trainer: TrainerSettings) -> torch.device:
    return trainer.build(barebones=True).strategy.root_device


@dataclass(frozen=True)
class Evidence:
    """What the examples say about an answer; see `report.evidence`, and `shared_texts`."""

    ranking: pd.DataFrame
    examples: pd.DataFrame
    shared: pd.DataFrame
    warnings: list[str]


def evidence(data: Data, answer: Influences) -> Evidence:
    """What a person who has no truth needs in order to judge an answer."""
    ranking = rank(answer.changes, answer.missed)
    corpora = {corpus.name: map(_text, corpus.rows) for corpus in data.corpora}
    tests: dict[Hashable, list[str]] = {
        Subset(testset.name, name): [row.target for row in rows]
        for testset in data.testsets
        for name, rows in testset.subsets.items()
    }
    shared = shared_texts(corpora, tests)
    subsets = shared.pop("subset")
    shared["testset"] = [subset.testset for subset in subsets]
    shared["subset"] = [subset.subset for subset in subsets]
    decode = partial(data.training.tokenizer.decode, skip_special_tokens=True)
    examples = moved(answer.changes, answer.read, decode)
    return Evidence(ranking, examples, shared, weaknesses(ranking, data.subsets, shared))


def _text(row: Row) -> str:
    return row.input + row.target


def _write(
    outdir: Path,
    cfg: DictConfig,
    data: Data,
    key: str,
    found: Found,
) -> None:
    """The files of a run; metrics.json comes last and says that the job is done."""
    answer, meter, theta0, truth, changes = found
    warnings = list(answer.warnings)
    files.write_scores(outdir, answer.scores)
    if answer.trajectory is not None:
        files.write_trajectory(outdir, answer.trajectory)
    if answer.own_loss is not None:
        files.write_own_loss(outdir, answer.own_loss)
    if truth is None and answer.changes:
        seen = evidence(data, answer)
        warnings += seen.warnings
        files.write_ranking(outdir, seen.ranking)
        files.write_examples(outdir, seen.examples)
        files.write_shared(outdir, seen.shared)
    agreed: dict[str, dict[str, float]] | None = None
    statistics = load_statistics(cfg.statistics)
    actual = pd.DataFrame(columns=files.TRUTH)
    if truth is not None and changes is not None:
        files.write_truth(outdir, truth.influences(changes, list(data.training.corpora)))
        if (changes["without"].map(len) > 1).any():
            files.write_models(outdir, changes)
        predicted, actual = truth.compared(answer.scores, changes)
        agreed = agreement(predicted, truth_mean(actual), warnings.append, statistics)
    noise = ceilings(actual, warnings.append, statistics)
    hydra = HydraConfig.get()
    files.write_metrics(
        outdir,
        {
            "experiment": cfg.name,
            "method": hydra.runtime.choices["method"],
            "variant": variant(hydra.overrides.task, hydra.sweeper.params),
            "seed": cfg.seed,
            "train_seed": cfg.train_seed,
            "scale": cfg.scale,
            "over": None if truth is None else truth.over,
            "agreement": agreed,
            **noise,
            "cost": meter.as_dict(),
            "warnings": warnings,
            "theta0": None if theta0 is None else str(theta0),
            "fingerprint": key,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "versions": {
                "untrac_exp": __version__,
                **{name: version(name) for name in ("torch", "transformers", "lightning")},
            },
            "git_commit": _git_commit(),
            "config": plain(cfg),
        },
    )
    log.info("wrote %s", outdir)


def _log_to(cfg: DictConfig, outdir: Path) -> None:
    logger = instantiate(cfg.logger)
    if logger is not None:
        logger(outdir=outdir)


def _git_commit() -> str | None:
    """Of the checkout this package runs from; None when it is installed."""
    done = subprocess.run(
        ["git", "-C", Path(__file__).parent, "rev-parse", "HEAD"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or None
