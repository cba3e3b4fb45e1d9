"""Hydra callback of a sweep. Hydra imports it even for --help, so it imports nothing slow."""

import logging
import os
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, flag_override

from untrac_exp.config.schema import share_axes
from untrac_exp.config.sweep import overrides_of_jobs

log = logging.getLogger(__name__)

STARTED, JOBS = "UNTRAC_STARTED", "UNTRAC_JOBS"
"""Environment variables of a sweep's jobs: its start, in seconds since the epoch, and the number of
its jobs. With `force`, artifacts older than the start are built again, once for all jobs."""

_to_report: list[tuple[Path, Any]] = []
"""The directory and the `logger` of this process's sweep until it is reported."""

_anytime: list[bool] = []
"""Not empty if that sweep has a budget, so that it is reported when it is interrupted."""


class Report(Callback):
    """Passes a sweep's axes to its jobs and writes the report after the last, on any launcher."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        share_axes(config)
        with flag_override(config.hydra, ["readonly", "struct"], False):
            jobs = len(overrides_of_jobs(config.hydra.overrides.task, config.hydra.sweeper.params))
            config.hydra.overrides.hydra.append(f"++hydra.job.env_set.{STARTED}='{time.time()}'")
            config.hydra.overrides.hydra.append(f"++hydra.job.env_set.{JOBS}='{jobs}'")
        HydraConfig.instance().set_config(config)  # for the resolver that names the sweep's folder
        _to_report[:] = [(Path(config.hydra.sweep.dir), config.logger)]
        _anytime[:] = [True] if config.get("budget") is not None else []

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if os.environ.get("RANK", "0") != "0":
            return  # rank 0 writes the report
        try:
            report()
        except ValueError as error:
            # Hydra would turn an exception of a callback into a Python warning
            log.error("no report: %s", error)


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

    if _to_report and (_anytime or not stopped):
        directory, logger = _to_report.pop()
        report_sweep(directory, instantiate(logger))
