"""What happens around a sweep. Light to import: Hydra does so before it prints even --help."""

import logging
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from untrac_exp.config import share_axes

log = logging.getLogger(__name__)

_to_report: list[Path] = []
"""The directory of the sweep this process runs, until it is reported."""

_anytime: list[bool] = []
"""Not empty where that sweep has an answer at any time, which is reported when it is stopped."""


class Report(Callback):
    """Tells a sweep's jobs what varies, and reports it after the last, whatever the launcher."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        share_axes(config)
        HydraConfig.instance().set_config(config)  # the sweep's folder is named by what it holds
        _to_report[:] = [Path(config.hydra.sweep.dir)]
        _anytime[:] = [True] if config.get("budget") is not None else []

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if os.environ.get("RANK", "0") != "0":
            return  # the first process of several says it for all
        try:
            report()
        except ValueError as error:
            # Hydra turns what a callback raises into a Python warning with no remedy in it.
            log.error("no report: %s", error)


def report(stopped: bool = False) -> None:
    """Report the sweep of this process, unless that is done or there is none.

    stopped: by a person, who wants to see what there is only if the sweep has a budget.

    Raises `ValueError` where no job of it has finished. Hydra ends a sweep without its callback
    when a job fails; the entry point then calls this for the jobs that did not.
    """
    from untrac_exp.report.sweep import report_sweep

    if _to_report and (_anytime or not stopped):
        report_sweep(_to_report.pop())
