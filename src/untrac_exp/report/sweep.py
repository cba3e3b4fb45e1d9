"""The report of a sweep."""

from pathlib import Path

from untrac_exp.report.answer import write_answer
from untrac_exp.report.collect import collect
from untrac_exp.report.figures import draw_all
from untrac_exp.report.page import write_page
from untrac_exp.report.tables import write_summary
from untrac_exp.report.terminal import print_sweep


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
