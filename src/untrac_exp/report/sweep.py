"""Build the report of a sweep."""

from pathlib import Path

from untrac_exp.report.answer import write_answer
from untrac_exp.report.collect import collect
from untrac_exp.report.figures import draw_all
from untrac_exp.report.page import write_page
from untrac_exp.report.tables import write_summary
from untrac_exp.report.terminal import print_sweep


def report_sweep(directory: Path) -> Path:
    """Write ``summary.csv``, ``answer.json``, ``figures/`` and ``report.html``, and print tables.

    Args:
        directory: of the sweep, ``outputs/<experiment>/<scale>``.

    Returns:
        Path of the page.

    Raises:
        ValueError: there is no finished job, or the directory is not writable.
    """
    sweep = collect(Path(directory))
    write_summary(sweep)
    write_answer(sweep)
    drawings = draw_all(sweep, sweep.directory / "figures")
    page = write_page(sweep, drawings)
    print_sweep(sweep, page)
    return page
