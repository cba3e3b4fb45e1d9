"""Agreement with retraining on natural text: every method, each test set, and the cost.

    python -m experiments.natural.agreement [--readme]

Reads the sweeps `natural`, `natural_embeddings` and `natural_512`. Methods are sorted by agreement
as a share of the attainable ceiling, averaged over test sets and runs.
"""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.published import Place, run
from experiments.tables import markdown, write_table
from untrac_exp.report.collect import Sweep, collect

RESAMPLES = 500
SWEEPS = {"natural": "`", "natural_embeddings": "`, embeddings", "natural_512": "`, 512 sequences"}
"""Sweep -> how its methods are named."""
BESIDE = ("ngram`", "untrac_newton`, 512 sequences")
"""Rows that the others are compared with."""


def relative(sweep: Sweep, corpora: list[str]) -> pd.Series:
    """Pearson over the attainable ceiling, mean over test sets and runs, by method.

    corpora: those that are correlated over, any of them more than once.
    """
    truth: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in sweep.truth.to_dict("records"):
        of = truth.setdefault((row["testset"], row["subset"]), {})
        of.setdefault(row["corpus"], []).append(row["influence"])
    attainable = sweep.agreement.groupby("testset")["attainable_pearson"].first().to_dict()
    runs: dict[tuple[str, ...], dict[str, float]] = {}
    for row in sweep.scores.to_dict("records"):
        run_of = tuple(str(row[key]) for key in ("method", "train_seed", "seed"))
        run_of += (row["testset"], row["subset"])
        runs.setdefault(run_of, {})[row["corpus"]] = row["influence"]
    found: dict[str, list[float]] = {}
    for (method, _, _, testset, subset), ours in runs.items():
        theirs = truth[testset, subset]
        pair = [[ours[corpus], np.mean(theirs[corpus])] for corpus in corpora]
        r = float(np.corrcoef(np.array(pair).T)[0, 1])
        found.setdefault(method, []).append(r / attainable[testset])
    return pd.Series({method: float(np.mean(values)) for method, values in found.items()})


def intervals(sweep: Sweep, corpora: list[str], beside: list[str]) -> dict[str, list[str]]:
    """95 % bootstrap over corpora: of each method, and of each of `beside` minus it."""
    random = np.random.default_rng(0)
    draws: list[pd.Series] = []
    while len(draws) < RESAMPLES:
        chosen = list(random.choice(corpora, len(corpora)))
        if len(set(chosen)) > 2:
            draws.append(relative(sweep, chosen))
    table = {method: np.array([draw[method] for draw in draws]) for method in draws[0].index}

    def shown(values: np.ndarray) -> str:
        low, high = np.quantile(values, [0.025, 0.975])
        return f"{low:.2f} to {high:.2f}"

    return {
        method: [
            shown(one),
            *("" if method == other else shown(table[other] - one) for other in beside),
        ]
        for method, one in table.items()
    }


def joined(place: Place) -> Sweep:
    """The sweeps as one; methods are named by their sweep."""
    sweeps = {name: collect(place.sweep(name)) for name in SWEEPS}

    def table(name: str) -> pd.DataFrame:
        named = [
            one.assign(method=one["method"] + suffix)
            for suffix, one in zip(
                SWEEPS.values(), (getattr(sweep, name) for sweep in sweeps.values()), strict=True
            )
        ]
        return pd.concat(named, ignore_index=True)

    return replace(
        sweeps["natural"], scores=table("scores"), agreement=table("agreement"), jobs=table("jobs")
    )


def publish(place: Place) -> str:
    """Write the table; return it as Markdown."""
    sweep = joined(place)
    corpora = list(sweep.scores["corpus"].unique())
    shares = relative(sweep, corpora).sort_values(ascending=False)
    bounds = intervals(sweep, corpora, list(BESIDE))
    pearson = sweep.agreement.groupby(["method", "testset"])["pearson"].mean().to_dict()
    seconds = sweep.jobs.groupby("method")["wall_s"].mean().to_dict()
    backward = sweep.jobs.groupby("method")["backward_tokens"].mean().to_dict()
    rows = [
        {
            "method": f"`{method}",
            "agreement ÷ attainable": f"{share:.2f}",
            "95 %": bounds[method][0],
            **{
                f"`{other} minus it": bound
                for other, bound in zip(BESIDE, bounds[method][1:], strict=True)
            },
            **{name: f"{pearson[method, name]:.2f}" for name in sweep.testsets},
            "seconds": f"{seconds[method]:.0f}",
            "k tokens backward": f"{backward[method] / 1000:,.0f}",
        }
        for method, share in zip(map(str, shares.index), shares, strict=True)
    ]
    for key, name in (("attainable_pearson", "attainable"), ("ceiling_pearson", "noise ceiling")):
        of = sweep.agreement.groupby("testset")[key].first().to_dict()
        rows.append({"method": name, **{one: f"{of[one]:.2f}" for one in sweep.testsets}})
    table = pd.DataFrame(rows).fillna("").set_index("method")
    write_table(place, table.reset_index(), table, "Agreement with retraining on natural text")
    return markdown(table)


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
