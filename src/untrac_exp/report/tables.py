"""Tables of a report: the summary of a sweep and the rankings of the corpora."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from untrac_exp.report.collect import JOB, Sweep, labelled, short_variants
from untrac_exp.report.result_files import TRUTH, table_text, write_text
from untrac_exp.statistics.agreement import STATISTICS

SUMMARY = ["method", "variant", "testset", "pearson_mean", "pearson_std", "pearson_low"]
SUMMARY += ["pearson_high", "spearman_mean", "spearman_std", "ceiling", "attainable", "relative"]
SUMMARY += ["wall_s", "backward_tokens", "n_seeds", "varied"]
TRUTH_LABEL = "truth"


def summarise(sweep: Sweep) -> pd.DataFrame:
    """Summarize a sweep: one row per method, variant and test set, sorted.

    Mean and standard deviation (ddof 1; NaN for one run) are over runs, i.e. sampling seeds and
    train seeds of θ0. If a correlation is undefined for one run, the mean is undefined too:
    dropping the run would bias the mean upwards.

    Returns:
        Columns of ``SUMMARY``, then ``<statistic>_mean`` and ``_std`` of further statistics, and
        the method's label.
        pearson_low and pearson_high are means over runs of the interval ends, at least as wide as
        the interval of the mean. ceiling is the correlation of truths of single train seeds,
        attainable the ceiling for their mean, with which methods are compared, and relative is
        pearson_mean / attainable (NaN if that is 0). wall_s and backward_tokens are means over runs
        of a whole job with all its test sets. n_seeds is the number of runs, varied what differs
        between them.
    """
    cells = sweep.scores[[*JOB, "testset"]].drop_duplicates()
    agreement = sweep.agreement.drop(columns="label")
    rows = cells.merge(agreement, on=[*JOB, "testset"], how="left").merge(sweep.jobs, on=JOB)
    summary = []
    names = sweep.statistics
    for (method, variant, testset), group in rows.groupby(["method", "variant", "testset"]):
        pearson = group["pearson"].mean(skipna=False)
        attainable = group["attainable_pearson"].iloc[0]
        summary.append(
            {
                "method": method,
                "variant": variant,
                "testset": testset,
                "pearson_low": group["pearson_low"].mean(skipna=False),
                "pearson_high": group["pearson_high"].mean(skipna=False),
                "ceiling": group["ceiling_pearson"].iloc[0],
                "attainable": attainable,
                "relative": pearson / attainable if attainable > 0 else math.nan,
                "wall_s": group["wall_s"].mean(),
                "backward_tokens": group["backward_tokens"].mean(),
                "n_seeds": len(group),
                "varied": varied(group),
                "label": group["label"].iloc[0],
                **{f"{name}_mean": group[name].mean(skipna=False) for name in names},
                **{f"{name}_std": group[name].std(ddof=1, skipna=False) for name in names},
            }
        )
    further = [name for name in names if name not in STATISTICS]
    columns = [f"{name}_{part}" for name in further for part in ("mean", "std")]
    return pd.DataFrame(summary, columns=[*SUMMARY, *columns, "label"])


def varied(runs: pd.DataFrame) -> str:
    """Describe what differs between runs, as in "2 seeds × 2 train seeds"; "" for a single run.

    Args:
        runs: columns seed, train_seed.
    """
    counts = {"seeds": runs["seed"].nunique(), "train seeds": runs["train_seed"].nunique()}
    return " × ".join(f"{n} {name}" for name, n in counts.items() if n > 1)


def write_summary(sweep: Sweep) -> Path:
    """Write ``summary.csv`` to the sweep's directory and return its path."""
    table = summarise(sweep).drop(columns="label")
    return write_text(sweep.directory / "summary.csv", table_text(table))


def influences(sweep: Sweep) -> pd.DataFrame:
    """Return the influence of every corpus on every subset, for the truth and every method.

    Returns:
        Columns label, corpus, testset, subset, influence (mean over runs). The truth (mean over
        train seeds) comes first, labelled ``truth``, or ``truth · <short variant>`` if variants
        have different truths.
    """
    by = ["label", "corpus", "testset", "subset"]
    rows = pd.concat([truths(sweep), sweep.scores], ignore_index=True)
    return rows.groupby(by, sort=False)["influence"].agg(_strict_mean).reset_index()


def truths(sweep: Sweep) -> pd.DataFrame:
    """Return distinct truths: columns label, train_seed, corpus, testset, subset, influence."""
    tables = {
        str(variant): table[TRUTH].reset_index(drop=True)
        for variant, table in sweep.truth.groupby("variant")
    }
    if not tables:
        return pd.DataFrame(columns=["label", *TRUTH])
    first = next(iter(tables.values()))
    if all(table.equals(first) for table in tables.values()):
        return first.assign(label=TRUTH_LABEL)
    short = short_variants(tables)
    named = (t.assign(label=labelled(TRUTH_LABEL, short[v])) for v, t in tables.items())
    return pd.concat(named, ignore_index=True)


def ranking(sweep: Sweep, testset: str) -> pd.DataFrame:
    """Rank the corpora by influence on a test set, for the truth and every method.

    Returns:
        Columns label, corpus, influence, ci_low, ci_high, rank (1 = helps the test text most).
        Influence is the mean over subsets and seeds. Interval ends are means over the subsets'
        ends: at least as wide as the interval of the mean, however subsets are correlated. Rows
        are sorted by the truth's rank, or by the first method's if there is no truth.
    """
    scores = sweep.scores[sweep.scores["testset"] == testset]
    truth = truths(sweep)
    rows = pd.concat([truth[truth["testset"] == testset], scores], ignore_index=True)
    values = [c for c in ("influence", "ci_low", "ci_high") if c in rows]
    table = rows.groupby(["label", "corpus"], sort=False)[values].agg(_strict_mean).reset_index()
    table["rank"] = table.groupby("label")["influence"].rank(ascending=False, method="min")
    leading = table[table["label"] == table["label"].iloc[0]].sort_values("rank", kind="stable")
    orders = {"label": table["label"].unique(), "corpus": leading["corpus"]}
    places = {name: {one: i for i, one in enumerate(order)} for name, order in orders.items()}
    return table.sort_values(
        ["label", "corpus"], key=lambda names: names.map(places[str(names.name)]), ignore_index=True
    )


def number_format(values: pd.Series) -> str:
    """Return a format for a column: three significant digits of the largest, aligned decimals.

    Units differ between methods, so each column has its own format.
    """
    largest = values[np.isfinite(values)].abs().max()
    if pd.isna(largest) or largest == 0:
        return "+.3f"
    magnitude = math.floor(math.log10(largest))
    return f"+.{2 - min(magnitude, 2)}f" if -4 <= magnitude <= 5 else "+.2e"


def _strict_mean(values: pd.Series) -> float:
    return float(values.mean(skipna=False))
