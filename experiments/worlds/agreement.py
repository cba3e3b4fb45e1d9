"""Agreement with retraining over worlds: collect the cells of finished jobs, then print the table.

    python -m experiments.worlds.agreement --collect outputs/worlds/mini
    python -m experiments.worlds.agreement development [--readme]
    python -m experiments.worlds.agreement sealed [--readme]

A cell is one method on one test set of one world, for one train seed of θ0; `cells.csv` beside this
file keeps them, since they are small. PROTOCOL.md says how the table is computed from them.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.published import fill
from experiments.tables import markdown
from untrac_exp.data.sources.worlds import DEVELOPMENT, SEALED
from untrac_exp.report.collect import collect
from untrac_exp.statistics.agreement import truth_mean
from untrac_exp.statistics.intervals import mean_interval

CELLS = Path(__file__).with_name("cells.csv")
ID = ["method", "world", "train_seed", "testset"]
CONTROLS = ("unigrams", "bm25", "tfidf", "corpus_loss")
SURROGATE = "ngram"
LOWEST_CEILING = 0.9
"""Cells of a (world, test set) with a lower attainable ceiling are left out."""
_NOT_SETTINGS = ("corpora.world", "train_seed", "seed", "parallel")
SHORT = ["agreement ÷ attainable", "95 %", "given `ngram`", "worst world", "seconds"]
"""Columns of the table on the front page."""


def cells(directory: Path) -> pd.DataFrame:
    """Return the cells of the finished jobs below a folder.

    Columns `ID`, pearson (mean over subsets), attainable, partial (correlation given the surrogate,
    mean over subsets; NaN for the surrogate or where it was not run), wall_s, forward_tokens,
    backward_tokens, commit.
    """
    sweep = collect(directory)
    scores, truths = sweep.tables["scores"], sweep.tables["truth"]
    by_cell = ["world", "train_seed", "testset", "subset", "corpus"]
    worlds = [int(job["config"]["corpora"]["world"]) for job in sweep.metrics]
    scores = scores.assign(world=scores["job"].map(dict(enumerate(worlds))))
    surrogate = scores[scores["method"] == SURROGATE].set_index(by_cell)["influence"]
    rows = []
    for i, (job, world) in enumerate(zip(sweep.metrics, worlds, strict=True)):
        truth = truth_mean(truths[truths["job"] == i])
        table = scores[scores["job"] == i].merge(
            truth, on=["corpus", "testset", "subset"], suffixes=("", "_truth")
        )
        table["surrogate"] = surrogate.reindex(pd.MultiIndex.from_frame(table[by_cell])).to_numpy()
        for testset, agreed in job["agreement"].items():
            subsets = table[table["testset"] == testset].groupby("subset")
            partial = [_partial(subset) for _, subset in subsets]
            cost = job["cost"]
            rows.append(
                {
                    "method": _name(job),
                    "world": world, "train_seed": job["train_seed"], "testset": testset,
                    "pearson": agreed["pearson"], "attainable": job["attainable"][testset],
                    "partial": np.nan if job["method"] == SURROGATE else np.mean(partial),
                    "wall_s": cost["wall_s"], "forward_tokens": cost["forward_tokens"],
                    "backward_tokens": cost["backward_tokens"], "commit": job["git_commit"],
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _name(job: Mapping[str, Any]) -> str:
    """Return a job's method with the settings that its command changed."""
    changed = {key: value for key, value in job["overrides"].items() if key not in _NOT_SETTINGS}
    return ", ".join([job["method"], *(f"{key}={value}" for key, value in changed.items())])


def _partial(table: pd.DataFrame) -> float:
    """Return the correlation of a method with the truth over corpora, given the surrogate."""
    r = table[["influence", "influence_truth", "surrogate"]].corr().to_numpy()
    left = np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    return float((r[0, 1] - r[0, 2] * r[1, 2]) / left)


def by_world(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the mean of a column, worlds by methods, over train seeds and usable test sets."""
    usable = table[table["attainable"] >= LOWEST_CEILING]
    return usable.groupby(["world", "method"])[value].mean().unstack("method")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of methods, best first, from their cells."""
    shares = by_world(table.assign(share=table["pearson"] / table["attainable"]), "share")
    partial = by_world(table, "partial")
    best_control = max(
        (control for control in CONTROLS if control in shares),
        key=lambda control: shares[control].mean(),
        default=None,
    )
    seconds = table.drop_duplicates(["method", "world", "train_seed"]).groupby("method")["wall_s"]
    rows = {}
    for method in shares.mean().sort_values(ascending=False).index:
        row = {
            "agreement ÷ attainable": f"{shares[method].mean():.2f}",
            "95 %": _text(mean_interval(shares[method].dropna())),
            "given `ngram`": "" if method == SURROGATE else f"{partial[method].mean():.2f}",
        }
        for other in filter(None, (best_control, "untrac_inv", "graddot")):
            if other in shares:
                more = (shares[method] - shares[other]).dropna().to_numpy()
                won = f"{(more > 0).sum()} of {len(more)}" if other != method else ""
                row[f"minus `{other}`"] = _text(mean_interval(more)) if other != method else ""
                row[f"worlds above `{other}`"] = won
        row["worst world"] = f"{shares[method].min():.2f}"
        row["seconds"] = f"{seconds.median()[method]:.0f}"
        rows[f"`{method}`"] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method").fillna("")


def _text(ends: tuple[float, float]) -> str:
    low, high = ends
    return "–" if np.isnan(low) else f"{low:.2f} to {high:.2f}"


def publish(name: str) -> tuple[str, str]:
    """Return the table of the development or of the sealed worlds as Markdown, and its summary."""
    worlds = DEVELOPMENT if name == "development" else SEALED
    table = pd.read_csv(CELLS)
    table = table[table["world"].isin(worlds)]
    runs = table.groupby("train_seed")[["method", "world"]].apply(
        lambda of: len(of.drop_duplicates())
    )
    seeds = runs.index[runs == len(table[["method", "world"]].drop_duplicates())]
    table = table[table["train_seed"].isin(seeds)]  # those that every method was run for
    pairs = table.drop_duplicates(["world", "testset"])
    usable = (pairs["attainable"] >= LOWEST_CEILING).sum()
    counted = (
        f"{table['world'].nunique()} worlds, train seed {', '.join(map(str, seeds))}; {usable} of "
        f"{len(pairs)} test sets have an attainable ceiling of at least {LOWEST_CEILING}."
    )
    methods = summary(table)
    return f"{counted}\n\n{markdown(methods)}", markdown(methods[SHORT])


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.worlds.agreement")
    parser.add_argument("worlds", nargs="?", choices=["development", "sealed"])
    parser.add_argument("--collect", type=Path, help="folder of finished jobs")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    given = parser.parse_args()
    if given.collect is not None:
        new = cells(given.collect)
        old = pd.read_csv(CELLS) if CELLS.exists() else new
        table = pd.concat([old, new]).drop_duplicates(ID, keep="last").sort_values(ID)
        table.round(4).to_csv(CELLS, index=False)
        print(f"{len(new)} cells collected, {len(table)} in {CELLS.name}")
    if given.worlds is not None:
        text, short = publish(given.worlds)
        if given.readme:
            fill(CELLS.with_name("README.md"), text, given.worlds)
            fill(CELLS.parents[2] / "README.md", short, "worlds")
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
