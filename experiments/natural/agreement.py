"""Agreement with retraining on natural text: every method, each test set, and the cost.

    python -m experiments.natural.agreement [--readme]

Reads the sweeps `natural` and `natural_512`. Methods are sorted by agreement
as a share of the attainable ceiling, averaged over test sets and runs.
"""

import sys

import numpy as np
import pandas as pd

from experiments.leaderboard.board import entries, resampled
from experiments.published import Place, run
from experiments.tables import markdown, write_table

SWEEPS = {"natural": "`", "natural_512": "`, 512 sequences"}
"""Sweep -> how its methods are named."""
BESIDE = ("ngram`",)
"""Rows that the others are compared with."""


def publish(place: Place) -> str:
    """Write the table; return it as Markdown."""
    sweeps = {suffix: place.sweep(name) for name, suffix in SWEEPS.items()}
    shares = {m + end: e for end, sweep in sweeps.items() for m, e in entries(sweep).items()}
    # the sweeps have the same corpora, so their methods share the resamples
    draws = {m + end: x for end, sweep in sweeps.items() for m, x in resampled(sweep).items()}
    agreement = pd.concat(
        sweep.agreement.assign(method=sweep.agreement["method"] + end)
        for end, sweep in sweeps.items()
    )
    pearson = agreement.groupby(["method", "testset"])["pearson"].mean()
    backward = agreement.groupby("method")["backward_tokens"].mean()
    testsets = place.sweep("natural").testsets
    rows = []
    for method in sorted(shares, key=lambda method: -shares[method].share):
        rows.append(
            {
                "method": f"`{method}",
                "agreement ÷ attainable": f"{shares[method].share:.2f}",
                "95 %": _interval(draws[method]),
                **{
                    f"`{other} minus it": _interval(draws[other] - draws[method])
                    for other in BESIDE
                    if other != method
                },
                **{testset: f"{pearson[method, testset]:.2f}" for testset in testsets},
                "seconds": f"{shares[method].seconds:.0f}",
                "k tokens backward": f"{backward[method] / 1000:,.0f}",
            }
        )
    for key, name in (("attainable_pearson", "attainable"), ("ceiling_pearson", "noise ceiling")):
        of = agreement.groupby("testset")[key].first()
        rows.append({"method": name, **{testset: f"{of[testset]:.2f}" for testset in testsets}})
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = pd.DataFrame(rows, columns=columns).fillna("").set_index("method")
    write_table(place, table.reset_index(), table, "Agreement with retraining on natural text")
    return markdown(table)


def _interval(draws: np.ndarray) -> str:
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return f"{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
