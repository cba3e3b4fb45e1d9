"""The report of a sweep, and the Hydra callback that makes it once all jobs are done."""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from untrac_exp.report.answer import write_answer
from untrac_exp.report.collect import collect
from untrac_exp.report.figures import draw_all
from untrac_exp.report.page import write_page
from untrac_exp.report.tables import write_summary
from untrac_exp.report.terminal import print_sweep

log = logging.getLogger(__name__)


def report_sweep(directory: Path) -> Path:
    """Write ``summary.csv``, ``answer.json``, ``figures/`` and ``report.html`` of a sweep.

    And print its tables. directory: the sweep's, ``outputs/<experiment>/<scale>``. Returns the
    page's path.
    ValueError where it holds no finished job or cannot be written to.
    """
    sweep = collect(Path(directory))
    write_summary(sweep)
    write_answer(sweep)
    drawings = draw_all(sweep, sweep.directory / "figures")
    page = write_page(sweep, drawings)
    print_sweep(sweep, page)
    return page


class Report(Callback):
    """Reports a sweep after its last job, whatever launcher ran the jobs."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            report_sweep(Path(config.hydra.sweep.dir))
        except ValueError as error:
            # Hydra turns what a callback raises into a Python warning with no remedy in it.
            log.error("no report: %s", error)
