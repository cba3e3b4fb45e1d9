"""Rebuild the report of a finished sweep: ``python -m untrac_exp.report DIRECTORY ...``."""

import argparse
import sys
from pathlib import Path

from untrac_exp.report.sweep import report_sweep


def main(arguments: list[str] | None = None) -> int:
    """Report every directory given; print one line and return exit status 1 on error."""
    parser = argparse.ArgumentParser(prog="python -m untrac_exp.report", description=__doc__)
    parser.add_argument(
        "directory", type=Path, nargs="+", help="a sweep, such as outputs/toxicity/mini"
    )
    for directory in parser.parse_args(arguments).directory:
        try:
            report_sweep(directory)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
