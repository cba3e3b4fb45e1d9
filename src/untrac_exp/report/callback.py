"""Hydra callback of a sweep. Hydra imports it even for --help, so it imports nothing slow."""

import logging
import os
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

log = logging.getLogger(__name__)


class Report(Callback):
    """Writes the report after a sweep's last job, on any launcher.

    started: start of the command in seconds since the epoch; jobs read it from the configuration.
    """

    sweep: ClassVar[DictConfig | None] = None
    """Configuration of this process's sweep until it is reported."""

    def __init__(self, started: str) -> None:
        self.started = started

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        Report.sweep = config

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

    sweep, Report.sweep = Report.sweep, None
    if sweep is not None and not (stopped and sweep.get("budget") is None):
        report_sweep(Path(sweep.hydra.sweep.dir))
