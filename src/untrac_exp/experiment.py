"""The job: data, θ0, a method's influences, the truth, their agreement, a report."""

import logging
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from untrac_exp import __version__, processes, workers
from untrac_exp import result_files as files
from untrac_exp.agreement import agreement, ceilings, load_statistics, truth_mean
from untrac_exp.anytime import Refined, TooLittleTimeError
from untrac_exp.asking import refined
from untrac_exp.config import number_of_jobs, variant
from untrac_exp.cost import Meter
from untrac_exp.deadline import budget_s
from untrac_exp.evidence import evidence
from untrac_exp.inputs import (
    Data,
    is_finished,
    job_code,
    job_key,
    load_data,
    plain,
    prepare_process,
)
from untrac_exp.report.terminal import print_job
from untrac_exp.stages.trainer import quiet
from untrac_exp.store import Store, fingerprint
from untrac_exp.training import Trained
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
    many = 1 if _in_time(cfg) else workers.number(cfg.trainer, cfg.threads)
    prepare_process(cfg, many)
    processes.join(cfg.trainer.devices)
    if many > 1 and processes.is_distributed():
        raise ValueError(
            f"trainer.workers={many}: processes that torchrun starts work on one model; use "
            "trainer.workers=1, or start without torchrun"
        )
    job_code(cfg)  # read now, as it was imported: it may be edited while the data are made
    began = _began()
    data = load_data(cfg, Store(cfg.store, cfg.force, began))
    key = job_key(cfg, data)
    stopped = False
    if processes.broadcast(not cfg.force and is_finished(outdir, fingerprint(key))):
        log.info("%s: the results are already there (force=true runs it again)", outdir)
    else:
        if cfg.force:
            log.info("force=%s: %s", str(cfg.force).lower(), _FORCED[cfg.force])
        with workers.helped(many, _help, cfg, began, many) as call_help:
            data.training.store.call_help = call_help
            try:
                found = _build(cfg, data, began, _place_in_sweep())
            except TooLittleTimeError as error:
                log.warning("%s is left out: %s; raise budget=%s", outdir, error, cfg.budget)
                return
        stopped = found.best.interrupted
        if processes.is_first():
            # what was stopped is not done: the same command goes on
            _write(outdir, cfg, data, None if stopped else fingerprint(key), found)
            _log_to(cfg, outdir)
        processes.barrier()
    if HydraConfig.get().mode == RunMode.RUN and processes.is_first():
        print_job(outdir)
    if stopped:
        raise KeyboardInterrupt


class Found(NamedTuple):
    """What a job has found out. theta0: where it lies; meter: what the answer has cost."""

    best: Refined
    meter: Meter
    theta0: Path | None
    truth: Truth | None
    changes: pd.DataFrame | None


def _build(cfg: DictConfig, data: Data, began: float, place: tuple[int, int] = (0, 1)) -> Found:
    """Train and compute what the store lacks, as far as others do not, and read it all.

    place: as `_place_in_sweep` has it.
    """
    method = instantiate(cfg.method)  # first, for the truth may take hours
    # truth=none is an empty node
    truth: Truth | None = instantiate(cfg.truth) if cfg.truth else None
    changes = None if truth is None else truth.changes(data.training, data.subsets)
    theta0 = data.training.recipe(cfg.train_seed)
    # trained before the method's clock starts; processes ask together
    lies = theta0.folder() if isinstance(theta0, Trained) else None
    meter = Meter()
    answer = refined(method, cfg, data, meter, began, *place)
    return Found(answer, meter, lies, truth, changes)


def _help(cfg: DictConfig, began: float, workers: int) -> None:
    """The same in a further process; what it finds is in the store."""
    prepare_process(cfg, workers)
    _build(cfg, load_data(cfg, Store(cfg.store, cfg.force, began)), began)


def _began() -> float:
    """When this job's command was given, in seconds since the epoch: a sweep's, for all its jobs.

    What is forced is built once after that, and not by every job that shares it.
    """
    hydra = HydraConfig.get()
    sweep = Path(hydra.sweep.dir) / "multirun.yaml"  # written before the first job
    began = sweep.stat().st_mtime if hydra.mode == RunMode.MULTIRUN and sweep.exists() else None
    return processes.broadcast(time.time() if began is None else began)


def _in_time(cfg: DictConfig) -> bool:
    """Whether there is a budget of time here."""
    if cfg.budget is None:
        return False
    quiet()
    return budget_s(cfg.budget, instantiate(cfg.trainer).device) is not None


def _place_in_sweep() -> tuple[int, int]:
    """Which job of the sweep this is, from 0, and how many there are."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return 0, 1
    return hydra.job.num, number_of_jobs(hydra.sweeper.params)


def _write(
    outdir: Path,
    cfg: DictConfig,
    data: Data,
    key: str | None,
    found: Found,
) -> None:
    """The files of a run; metrics.json comes last and says that the job is done."""
    best, meter, theta0, truth, changes = found
    answer = best.answer
    warnings = list(answer.warnings)
    files.write_scores(outdir, answer.scores)
    if answer.trajectory is not None:
        files.write_trajectory(outdir, answer.trajectory)
    if answer.own_loss is not None:
        files.write_own_loss(outdir, answer.own_loss)
    if truth is None and answer.changes:
        seen = evidence(data, best)
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
            **({} if best.rounds is None else {"rounds": best.rounds}),
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
