"""Build the report of a sweep."""

from pathlib import Path

from untrac_exp.report.collect import collect
from untrac_exp.report.figures import draw_all
from untrac_exp.report.loggers import Logger
from untrac_exp.report.page import write_page
from untrac_exp.report.result_files import table_text, write_text
from untrac_exp.report.results import Sweep
from untrac_exp.report.terminal import print_sweep


def report_sweep(directory: Path, logger: Logger | None = None) -> Path:
    """Write ``summary.csv``, ``figures/`` and ``report.html``, and print tables.

    Args:
        directory: of the sweep, ``outputs/<experiment>/<scale>``.
        logger: logs the sweep, if it has just run.

    Returns:
        Path of the page.

    Raises:
        ValueError: there is no finished job, or the directory is not writable.
    """
    sweep = collect(directory)
    write_summary(sweep)
    page = write_page(sweep, draw_all(sweep, sweep.directory / "figures"))
    print_sweep(sweep, page)
    if logger is not None:
        logger.sweep(sweep, page)
    return page


def write_summary(sweep: Sweep) -> Path:
    """Write ``summary.csv`` to the sweep's directory and return its path."""
    table = sweep.summary.drop(columns="label")
    return write_text(sweep.directory / "summary.csv", table_text(table))
