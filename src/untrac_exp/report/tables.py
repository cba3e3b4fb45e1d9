"""Labels, means and ranks of tables of results."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

TRUTH_LABEL = "truth"


def labelled(name: str, variant: str) -> str:
    """Join the name of a method (or the truth) and its variant."""
    return f"{name} · {variant.replace(',', ', ')}" if variant else name


def is_truth(label: str) -> bool:
    """Return whether a label of `Sweep.rankings` is a truth's."""
    return label == TRUTH_LABEL or label.startswith(f"{TRUTH_LABEL} · ")


def number_format(values: Iterable[float]) -> str:
    """Return a format for a column: three significant digits of the largest, aligned decimals.

    Units differ between methods, so each column has its own format.
    """
    sizes = np.abs(np.asarray(list(values), dtype=float))
    largest = sizes[np.isfinite(sizes)].max(initial=0.0)
    if largest == 0:
        return "+.3f"
    magnitude = math.floor(math.log10(largest))
    return f"+.{2 - min(magnitude, 2)}f" if -4 <= magnitude <= 5 else "+.2e"


def means(rows: pd.DataFrame, values: list[str]) -> pd.DataFrame:
    """Average over subsets and runs: columns testset, label, corpus, runs and the values."""
    groups = rows.groupby(["testset", "label", "corpus"], sort=False)
    table = groups[values].agg(strict_mean)
    return table.assign(runs=groups.size()).reset_index()


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Add the ranks of one test set; sort by label, then by the first label's rank."""
    table["rank"] = table.groupby("label")["influence"].rank(ascending=False, method="min")
    leading = table[table["label"] == table["label"].iloc[0]].sort_values("rank", kind="stable")
    orders = {"label": table["label"].unique(), "corpus": leading["corpus"]}
    places = {name: {value: i for i, value in enumerate(of)} for name, of in orders.items()}
    return table.sort_values(
        ["label", "corpus"], key=lambda names: names.map(places[str(names.name)]), ignore_index=True
    )


def varied(runs: pd.DataFrame) -> str:
    """Describe what differs between runs, as in "2 seeds × 2 train seeds"; "" for one run."""
    counts = {"seeds": runs["seed"].nunique(), "train seeds": runs["train_seed"].nunique()}
    return " × ".join(f"{n} {name}" for name, n in counts.items() if n > 1)


def strict_mean(values: pd.Series) -> float:
    """Return the mean, NaN if a value is."""
    return float(values.mean(skipna=False))
