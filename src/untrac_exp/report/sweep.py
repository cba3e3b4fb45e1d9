"""The report of a sweep, once all its jobs are done."""

from pathlib import Path

from untrac_exp.report.collect import collect
from untrac_exp.report.tables import write_summary
from untrac_exp.report.terminal import print_sweep


def report_sweep(directory: Path) -> Path:
    """Write ``summary.csv``, ``figures/`` and ``report.html`` of a sweep and print its tables.

    directory: the sweep's directory, ``outputs/<experiment>/<scale>``. Returns the page's path.
    ValueError where it holds no finished job or cannot be written to.
    """
    sweep = collect(Path(directory))
    write_summary(sweep)
    page = sweep.directory / "report.html"
    print_sweep(sweep, page)
    return page
