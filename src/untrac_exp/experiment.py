"""One job: prepare data, train θ0, compute influences and the truth, write result files."""

import json
import logging
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from untrac_exp import processes, workers
from untrac_exp import result_files as files
from untrac_exp.agreement import agreement, ceilings, load_statistics, truth_mean
from untrac_exp.anytime import Refined, TooLittleTimeError
from untrac_exp.asking import run_method
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
from untrac_exp.store.artifact import versions
from untrac_exp.training import Trained
from untrac_exp.truth.models import Truth

log = logging.getLogger(__name__)

_FORCED = {
    True: "the method's parts are computed again; tokens, θ0 and truth are kept (force=all "
    "rebuilds them)",
    "all": "tokens, θ0, truth and the method's parts are computed again",
}


def run(cfg: DictConfig) -> None:
    """Run one job, from its configuration to its result files."""
    outdir = Path(HydraConfig.get().runtime.output_dir)
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
    data = load_data(cfg, Store(cfg.store, cfg.force, began, method))
    key = job_key(cfg, data)
    stopped = False
    if processes.broadcast(not cfg.force and is_finished(outdir, fingerprint(key))):
        log.info("%s: the results are already there (force=true runs it again)", outdir)
    else:
        if cfg.force:
            log.info("force=%s: %s", str(cfg.force).lower(), _FORCED[cfg.force])
        with workers.on_demand(many, _work, cfg, began, method, many) as start_workers:
            data.training.store.start_workers = start_workers
            try:
                found = _build(cfg, data, began, _place_in_sweep())
            except TooLittleTimeError as error:
                log.warning("%s is left out: %s; raise budget=%s", outdir, error, cfg.budget)
                return
        stopped = found.best.interrupted
        if processes.is_first():
            # no key for an interrupted job, so that the same command resumes it
            _write(outdir, cfg, data, None if stopped else fingerprint(key), found)
            if (logger := instantiate(cfg.logger)) is not None:
                logger(outdir=outdir)
        processes.barrier()
    if HydraConfig.get().mode == RunMode.RUN and processes.is_first():
        print_job(outdir)
    if stopped:
        raise KeyboardInterrupt


class Found(NamedTuple):
    """What a job has computed.

    Attributes:
        best: the method's result.
        meter: its cost.
        theta0: folder of θ0; None if it was not trained here.
        truth: the ground truth; None with truth=none.
        changes: as `Truth.changes` returns them.
    """

    best: Refined
    meter: Meter
    theta0: Path | None
    truth: Truth | None
    changes: pd.DataFrame | None


def _build(cfg: DictConfig, data: Data, began: float, place: tuple[int, int] = (0, 1)) -> Found:
    """Train and compute what the store lacks, share that work with other processes, and load it.

    place: as returned by `_place_in_sweep`.
    """
    method = instantiate(cfg.method)  # fail early: the truth may take hours
    # truth=none is an empty node
    truth: Truth | None = instantiate(cfg.truth) if cfg.truth else None
    changes = None if truth is None else truth.changes(data.training, data.subsets)
    theta0 = data.training.model_spec(cfg.train_seed)
    # train before the method's meter starts; a collective call of all ranks
    lies = theta0.folder() if isinstance(theta0, Trained) else None
    meter = Meter()
    answer = run_method(method, cfg, data, meter, began, *place)
    return Found(answer, meter, lies, truth, changes)


def _work(cfg: DictConfig, began: float, method: str, workers: int) -> None:
    """Do the same in a worker process, which leaves its results in the store."""
    prepare_process(cfg, workers)
    _build(cfg, load_data(cfg, Store(cfg.store, cfg.force, began, method)), began)


def _began() -> float:
    """Return the start of the command in seconds since the epoch, the same for all jobs of a sweep.

    With `force`, artifacts older than this are built again, once for all jobs that share them.
    """
    hydra = HydraConfig.get()
    sweep = Path(hydra.sweep.dir) / "multirun.yaml"  # written before the first job
    began = sweep.stat().st_mtime if hydra.mode == RunMode.MULTIRUN and sweep.exists() else None
    return processes.broadcast(time.time() if began is None else began)


def _has_budget(cfg: DictConfig) -> bool:
    """Return whether a time budget applies on this device."""
    if cfg.budget is None:
        return False
    quiet()
    return budget_s(cfg.budget, instantiate(cfg.trainer).device) is not None


def _place_in_sweep() -> tuple[int, int]:
    """Return the index of this job in its sweep, and the number of jobs."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return 0, 1
    return hydra.job.num, number_of_jobs(hydra.sweeper.params)


def _write(outdir: Path, cfg: DictConfig, data: Data, key: str | None, found: Found) -> None:
    """Write the result files; metrics.json is last and marks the job as finished."""
    best, meter, theta0, truth, changes = found
    answer = best.answer
    warnings = list(answer.warnings)
    for name in ("scores", "trajectory", "own_loss"):
        if (table := getattr(answer, name)) is not None:
            files.write(outdir, name, table)
    if truth is None and answer.changes:
        seen = evidence(data, best)
        warnings += seen.warnings
        files.write(outdir, "ranking", seen.ranking)
        files.write(outdir, "examples", seen.examples)
        files.write(outdir, "duplicates", seen.shared)
    agreed: dict[str, dict[str, float]] | None = None
    statistics = load_statistics(cfg.statistics)
    actual = pd.DataFrame(columns=files.TRUTH)
    if truth is not None and changes is not None:
        files.write(outdir, "truth", truth.influences(changes, list(data.training.corpora)))
        if (changes["without"].map(len) > 1).any():
            names = [json.dumps(one, ensure_ascii=False) for one in changes["without"]]
            files.write(outdir, "models", changes.assign(without=names))
        predicted, actual = truth.compared(answer.scores, changes)
        agreed = agreement(predicted, truth_mean(actual), warnings.append, statistics)
    noise = ceilings(actual, warnings.append, statistics)
    hydra = HydraConfig.get()
    files.write_metrics(
        outdir,
        {
            "experiment": cfg.name,
            "method": data.training.store.method,
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
