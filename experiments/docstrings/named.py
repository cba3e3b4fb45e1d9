"""Which library each method and the truth rank first for held-out docstrings of each library.

    python -m untrac_exp +experiment=docstrings
    python -m experiments.docstrings.named [outputs/docstrings/mini]

Prints, for each job, how many subsets have their own library as the corpus of largest influence,
and which library is first otherwise.
"""

import sys
from pathlib import Path

import pandas as pd


def named(table: pd.DataFrame) -> str:
    """`6 of 8; numpy: scipy, ...` for a table of corpus, subset and influence."""
    means = table.groupby(["subset", "corpus"])["influence"].mean().unstack("corpus")
    first = means.idxmax(axis=1)
    wrong = [f"{subset}: {corpus}" for subset, corpus in first.items() if subset != corpus]
    return f"{len(first) - len(wrong)} of {len(first)}; {', '.join(wrong) or 'all right'}"


def main() -> None:
    """Read every finished job of the sweep."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/docstrings/mini")
    jobs = sorted(folder.glob("**/scores.csv"))
    if not jobs:
        sys.exit(f"error: no finished job in {folder}; run the sweep first")
    print("truth:", named(pd.read_csv(jobs[0].with_name("truth.csv"))))
    for job in jobs:
        print(f"{job.parent.parent.name}, {job.parent.name}:", named(pd.read_csv(job)))


if __name__ == "__main__":
    main()
