"""Which library each method and the truth rank first for held-out docstrings of each library.

    python -m untrac_exp +experiment=docstrings
    python -m experiments.docstrings.named [outputs/docstrings/mini]

Prints, for each job, how many subsets have their own library as the corpus of largest influence,
and which library is first otherwise.
"""

import sys
from pathlib import Path

import pandas as pd

from experiments.published import jobs
from untrac_exp.report.collect import collect


def named(table: pd.DataFrame) -> str:
    """`6 of 8; numpy: scipy, ...` for a table of corpus, subset and influence."""
    means = table.groupby(["subset", "corpus"])["influence"].mean().unstack("corpus")
    first = means.idxmax(axis=1)
    wrong = [f"{subset}: {corpus}" for subset, corpus in first.items() if subset != corpus]
    return f"{len(first) - len(wrong)} of {len(first)}; {', '.join(wrong) or 'all right'}"


def main() -> None:
    """Read every finished job of the sweep."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/docstrings/mini")
    try:
        sweep = collect(folder)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print("truth:", named(sweep.truth))
    for job, scores in jobs(sweep, list(sweep.scores["method"].unique()), "scores"):
        print(f"{job['name']}:", named(scores))


if __name__ == "__main__":
    main()
