"""Agreement with retraining over worlds: collect the cells of finished jobs, then print the table.

    python -m experiments.worlds.agreement --collect outputs/worlds/mini
    python -m experiments.worlds.agreement development [--readme]
    python -m experiments.worlds.agreement sealed [--readme]

A cell is one method on one test set of one world, for one train seed of θ0; `cells.csv` beside this
file keeps them, since they are small. PROTOCOL.md says how the table is computed from them. With
``--readme`` the sealed table goes into the README here, that of the repository and docs/results.md,
with a picture.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.published import fill
from experiments.tables import markdown
from untrac_exp.data.sources.worlds import DEVELOPMENT, SEALED
from untrac_exp.report.collect import collect
from untrac_exp.report.style import COLOURS, figure_style
from untrac_exp.statistics.agreement import truth_mean
from untrac_exp.statistics.intervals import mean_interval

CELLS = Path(__file__).with_name("cells.csv")
ROOT = CELLS.parents[2]
ID = ["method", "world", "train_seed", "testset"]
CONTROLS = ("unigrams", "bm25", "tfidf", "corpus_loss")
SURROGATE = "ngram"
SUMS = (("ngram", "finetune"), ("ngram", "untrac_step"), ("ngram", "untrac_step", "untrac"))
"""Methods whose standardised scores are averaged, as one more method."""
PAIRS = (
    ("ngram + finetune", "ngram"),
    ("untrac_inv", "graddot"), ("untrac", "graddot"), ("untrac_inv", "unigrams"),
    ("hif_ekfac", "untrac_inv"), ("untrac_step", "untrac_inv"),
)  # fmt: skip
"""Further methods of which the first is compared with the second."""
QUESTION = ["testset", "subset"]
BY_CORPUS = ["world", "train_seed", *QUESTION, "corpus"]
COST = ["wall_s", "forward_tokens", "backward_tokens"]
LOWEST_CEILING = 0.9
"""Cells of a (world, test set) with a lower attainable ceiling are left out."""
_NOT_SETTINGS = (
    "corpora.world", "testset.names", "truth", "train_seed", "seed", "parallel",
    "trainer.precision",
)  # fmt: skip
SHORT = ["agreement ÷ attainable", "95 %", "given `ngram`", "worlds won", "seconds"]
"""Columns of the table on the front page."""


def cells(directory: Path) -> pd.DataFrame:
    """Return the cells of the finished jobs below a folder, and those of `SUMS` of their scores.

    Columns `ID`, pearson (mean over subsets), attainable, partial (correlation given the surrogate,
    mean over subsets; NaN for the surrogate or where it was not run), wall_s, forward_tokens,
    backward_tokens, commit.
    """
    sweep = collect(directory)
    rows, standard = [], []
    for i, job in enumerate(sweep.metrics):
        scores, truth = (table[table["job"] == i] for table in
                         (sweep.tables["scores"], sweep.tables["truth"]))  # fmt: skip
        table = scores.merge(truth_mean(truth), on=[*QUESTION, "corpus"], suffixes=("", "_truth"))
        job_id = {
            "method": _name(job), "world": int(job["config"]["corpora"]["world"]),
            "train_seed": job["train_seed"],
        }  # fmt: skip
        influence = table.groupby(QUESTION)["influence"]
        table["influence"] = (
            table["influence"] - influence.transform("mean")
        ) / influence.transform("std")
        standard.append(table.assign(**job_id))
        cost = {name: job["cost"][name] for name in COST}
        for testset, attainable in job["attainable"].items():
            rows.append({**job_id, "testset": testset, "attainable": attainable, **cost,
                         "commit": job["git_commit"]})  # fmt: skip
    known = pd.DataFrame(rows)
    scores = pd.concat(standard)
    scores, known = _with_sums(scores, known)
    surrogate = scores[scores["method"] == SURROGATE].set_index(BY_CORPUS)["influence"]
    scores["surrogate"] = surrogate.reindex(pd.MultiIndex.from_frame(scores[BY_CORPUS])).to_numpy()
    subsets = scores.groupby([*ID, "subset"])[["influence", "influence_truth", "surrogate"]]
    of_subsets = subsets.apply(_correlations).groupby(ID).mean()
    of_subsets.loc[SURROGATE, "partial"] = np.nan
    return known.merge(of_subsets.reset_index(), on=ID)


def _with_sums(scores: pd.DataFrame, known: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add the means of standardised scores of `SUMS`, and what is known of their cells."""
    for parts in SUMS:
        of_parts = scores[scores["method"].isin(parts)]
        groups = of_parts.groupby([*BY_CORPUS], sort=False)
        means = groups.agg({"influence": ["mean", "size"], "influence_truth": "first"})
        means.columns = ["influence", "n", "influence_truth"]
        complete = means[means["n"] == len(parts)].drop(columns="n").reset_index()
        name = _sum(parts)
        scores = pd.concat([scores, complete.assign(method=name)])
        costs = known[known["method"].isin(parts)].groupby(ID[1:])
        both = costs.agg({"attainable": "first", **dict.fromkeys(COST, "sum"), "commit": "first"})
        known = pd.concat(
            [known, both[costs.size() == len(parts)].reset_index().assign(method=name)]
        )
    return scores, known


def _correlations(table: pd.DataFrame) -> pd.Series:
    """Return a method's correlation with the truth over corpora, and that given the surrogate."""
    r = table[["influence", "influence_truth", "surrogate"]].corr().to_numpy()
    left = np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    partial = (r[0, 1] - r[0, 2] * r[1, 2]) / left if left > 0 else np.nan
    return pd.Series({"pearson": r[0, 1], "partial": partial})


def _name(job: Mapping[str, Any]) -> str:
    """Return a job's method with the settings that its command changed."""
    changed = {key: value for key, value in job["overrides"].items() if key not in _NOT_SETTINGS}
    return ", ".join([job["method"], *(f"{key}={value}" for key, value in changed.items())])


def by_run(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the mean of a column over usable test sets, (world, train seed) by method."""
    usable = table[table["attainable"] >= LOWEST_CEILING]
    return usable.groupby(["world", "train_seed", "method"])[value].mean().unstack("method")


def by_world(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the mean of a column over usable test sets and train seeds, worlds by methods."""
    return by_run(table, value).groupby("world").mean()


def with_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Add the column share, agreement ÷ attainable."""
    return table.assign(share=table["pearson"] / table["attainable"])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of methods, best first, from their cells."""
    shares = by_world(with_shares(table), "share")
    partial = by_world(table, "partial")
    most = shares.eq(shares.max(axis=1), axis=0).sum()
    seconds = table.drop_duplicates(["method", "world", "train_seed"]).groupby("method")["wall_s"]
    seeds = table.groupby("method")["train_seed"].unique().map(sorted)
    rows = {}
    for method in shares.mean().sort_values(ascending=False).index:
        known = shares[method].dropna()
        rows[f"`{method}`"] = {
            "agreement ÷ attainable": f"{known.mean():.2f}",
            "95 %": _text(mean_interval(known)),
            "given `ngram`": f"{partial[method].mean():.2f}".replace("nan", ""),
            "worst world": f"{known.min():.2f}",
            "worlds won": f"{most[method]} of {len(known)}",
            "train seeds": ", ".join(map(str, seeds[method])),
            "seconds": f"{seconds.median()[method]:.0f}" if method in seconds.groups else "",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method").fillna("")


def picture(table: pd.DataFrame) -> Figure:
    """Draw the table of methods, best first: a point for each method, its interval as a bar."""
    shares = by_world(with_shares(table), "share")
    methods = shares.mean().sort_values(ascending=False).index
    with figure_style():
        figure = Figure(figsize=(6.4, 0.6 + 0.26 * len(methods)))
        axes = figure.subplots()
        for y, method in enumerate(methods):
            known = shares[method].dropna()
            axes.plot(mean_interval(known), [y, y], color="0.7", linewidth=4, zorder=1)
            axes.plot(known, [y] * len(known), "|", color="0.4", markersize=7, zorder=2)
            axes.plot(known.mean(), y, "o", color=COLOURS[0], markersize=7, zorder=3)
        axes.set_yticks(range(len(methods)), methods)
        axes.invert_yaxis()
        axes.axvline(1, color="0.6", linestyle=":", zorder=0)
        axes.set_xlabel("agreement ÷ attainable: mean, 95 % over worlds, each world")
        axes.grid(axis="y")
    return figure


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Return the differences of the best method on the model to each other method, and of `PAIRS`.

    Two methods are compared on the train seeds that both were run with, by world.
    """
    shares = by_run(with_shares(table), "share")
    means = shares.groupby("world").mean().mean().sort_values(ascending=False)
    best = next(
        method for method in means.index if method not in (SURROGATE, *CONTROLS, *map(_sum, SUMS))
    )
    rows = {}
    for first, second in [*((best, method) for method in means.index.drop(best)), *PAIRS]:
        more = (shares[first] - shares[second]).dropna().groupby("world").mean()
        rows[f"`{first}` minus `{second}`"] = {
            "difference": f"{more.mean():.2f}",
            "95 %": _text(mean_interval(more)),
            "worlds in which it is positive": f"{(more > 0).sum()} of {len(more)}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("methods")


def _sum(parts: Sequence[str]) -> str:
    return " + ".join(parts)


def _text(ends: tuple[float, float]) -> str:
    low, high = ends
    return "–" if np.isnan(low) else f"{low:.2f} to {high:.2f}"


def publish(table: pd.DataFrame, name: str) -> tuple[str, str]:
    """Return the table of the development or of the sealed worlds as Markdown, and its summary."""
    pairs = table.drop_duplicates(["world", "testset"])
    usable = (pairs["attainable"] >= LOWEST_CEILING).sum()
    counted = (
        f"{table['world'].nunique()} worlds; {usable} of "
        f"{len(pairs)} test sets have an attainable ceiling of at least {LOWEST_CEILING}."
    )
    methods = summary(table)
    text = f"{counted}\n\n{markdown(methods)}"
    if name == "sealed":  # the others are trials
        text += f"\n\n{markdown(differences(table))}"
    return text, markdown(methods[SHORT])


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
        worlds = DEVELOPMENT if given.worlds == "development" else SEALED
        table = pd.read_csv(CELLS)
        table = table[table["world"].isin(worlds)]
        text, short = publish(table, given.worlds)
        if given.readme:
            fill(CELLS.with_name("README.md"), text, given.worlds)
            if given.worlds == "sealed":
                for page in ("README.md", "docs/results.md"):
                    fill(ROOT / page, short, "worlds")
                with figure_style():
                    picture(table).savefig(ROOT / "docs" / "worlds.png", dpi=160)
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
