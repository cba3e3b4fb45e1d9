"""Rebuild the report of a finished sweep: ``python -m untrac_exp.report DIRECTORY ...``."""

import sys
from pathlib import Path

from untrac_exp.report.sweep import report_sweep


def main(directories: list[str]) -> None:
    """Report every directory given; print one line and exit with status 1 on error."""
    try:
        for directory in directories:
            report_sweep(Path(directory))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
