"""What happens around a sweep. Light to import: Hydra does so before it prints even --help."""

import logging
import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from untrac_exp.report.plan import print_plans, remove_plans

log = logging.getLogger(__name__)

_to_report: list[Path] = []
"""The directory of the sweep this process runs, until it is reported."""


class Report(Callback):
    """Reports a sweep, or its plan, after its last job, whatever launcher ran the jobs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        directory = Path(config.hydra.sweep.dir)
        if config.plan:
            remove_plans(directory)
        else:
            _to_report[:] = [directory]

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if os.environ.get("RANK", "0") != "0":
            return  # the first process of several says it for all
        if config.plan:
            print_plans(Path(config.hydra.sweep.dir), f"{config.name} at {config.scale} scale")
            return
        try:
            report()
        except ValueError as error:
            # Hydra turns what a callback raises into a Python warning with no remedy in it.
            log.error("no report: %s", error)


def report() -> None:
    """Report the sweep of this process, unless that is done or there is none.

    Raises `ValueError` where no job of it has finished. Hydra ends a sweep without its callback
    when a job fails; the entry point then calls this for the jobs that did not.
    """
    from untrac_exp.report.sweep import report_sweep

    if _to_report:
        report_sweep(_to_report.pop())
