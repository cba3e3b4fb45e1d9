"""Table 5: Spearman correlation with the truth of every method on every test set.

    make table5
    python -m experiments.table5.table [--scale mini] [--readme]

Reads `summary.csv` of the sweeps `harms` and `harms_unequal`.
"""

import sys

from experiments.published import Place, run
from experiments.tables import correlation_table


def publish(place: Place) -> str:
    """Write the table; return it as Markdown next to the published one."""
    return correlation_table(place, "spearman")


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
