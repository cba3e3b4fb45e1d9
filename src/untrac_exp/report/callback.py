"""Hydra callback of a sweep. Hydra imports it even for --help, so it imports nothing slow."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path, PurePath
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, flag_override

from untrac_exp.config.errors import one_line
from untrac_exp.config.schema import parse_overrides

log = logging.getLogger(__name__)


STARTED, JOBS = "UNTRAC_STARTED", "UNTRAC_JOBS"
"""Environment variables of a sweep's jobs: its start, in seconds since the epoch, and the number of
its jobs. With `force`, artifacts older than the start are built again, once for all jobs."""


class Report(Callback):
    """Tells jobs of their sweep and writes the report after the last, on any launcher."""

    sweep: ClassVar[DictConfig | None] = None
    """Configuration of this process's sweep until it is reported."""
    failed: ClassVar[bool] = False
    """Whether a report could not be written."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _check(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _check(config)
        Report.sweep = config
        hydra = config.hydra
        axes = [f"{key}={values}" for key, values in hydra.sweeper.params.items()]
        jobs = count_jobs([*axes, *hydra.overrides.task])
        with flag_override(hydra, ["readonly", "struct"], False):
            for name, value in {STARTED: time.time(), JOBS: jobs}.items():
                hydra.overrides.hydra.append(f"++hydra.job.env_set.{name}='{value}'")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if os.environ.get("RANK", "0") != "0":
            return  # rank 0 writes the report
        try:
            report()
        except Exception as error:
            # Hydra would turn an exception of a callback into a Python warning
            log.error("no report: %s", one_line(error))
            Report.failed = True


def _check(config: DictConfig) -> None:
    """Exit with a line on stderr if a folder is no folder of its own or a path does not exist.

    Before folders are made and slow modules imported; Hydra would turn an exception into a warning.
    """
    place = PurePath(config.outputs) / str(config.name)
    fault = None
    if not config.outputs or len(place.parts) == len(PurePath(config.outputs).parts):
        fault = f"name={config.name}, outputs={config.outputs}: both need a folder; name them"
    elif ".." in place.parts[len(PurePath(config.outputs).parts) :] or PurePath(config.name).root:
        fault = (
            f"name={config.name}: its folder would be outside {config.outputs}; use a plain name"
        )
    elif Path(place, "x").absolute().is_relative_to(Path(config.store).absolute()):
        fault = f"name={config.name} is the folder of the store; use another name"
    for key in ("corpora.paths", "testset.paths"):
        given: Any = OmegaConf.select(config, key)
        for name, path in given.items() if hasattr(given, "items") else ():
            if not isinstance(path, str) or path.startswith("hub:") or has_magic(path):
                continue
            if not Path(path).expanduser().exists():
                missing = f"no file at '{path}' (from {Path.cwd()}); check the path or pattern"
                fault = fault or ".".join((key, str(name))) + f": {missing}"
    if fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(1)


def count_jobs(overrides: Sequence[str]) -> int:
    """Return the number of jobs of a sweep; later overrides of a key replace earlier ones."""
    [jobs] = BasicSweeper.split_arguments(parse_overrides(overrides), None)
    return len(jobs)


def report(stopped: bool = False) -> None:
    """Report this process's sweep, unless it is reported already or there is none.

    Hydra skips the callback when a job fails; the entry point then calls this function for the jobs
    that did finish.

    Args:
        stopped: whether the user interrupted it; then only a sweep with a budget is reported.

    Raises:
        ValueError: no job has finished.
    """
    from untrac_exp.report.sweep import report_sweep

    sweep, Report.sweep = Report.sweep, None
    if sweep is None or sweep.get("plan") or (stopped and sweep.get("budget") is None):
        return
    report_sweep(Path(sweep.hydra.sweep.dir), instantiate(sweep.logger))
