r"""Agreement of a method's influences with the ground truth, and the noise ceiling.

The paper does not say how it pools the subsets of a test set, so there are two ways:

- ``pearson`` and ``spearman``: the correlation over corpora within each subset, averaged over
  subsets;
- ``pearson_pooled``: the correlation over corpora of the influences averaged over subsets.

The truth depends on the train seed. The **noise ceiling** r is the mean pairwise correlation
between the truths of single train seeds, pooled the same way. A method is compared with the mean
of K truths, which is less noisy. The **attainable ceiling**

.. math:: \sqrt{K r / (1 + (K - 1) r)}

(Spearman-Brown) is the correlation of that mean with the noise-free influence, if the noise of the
train seeds is independent. For a test set, r is the mean over its subsets.

An undefined correlation (fewer than two corpora, a constant or non-finite vector) is NaN. A mean
over subsets that includes it is NaN too: skipping the subset would favour a method that failed on
it. Each one is reported through ``warn``.
"""

import logging
import math
from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from hydra.utils import get_method
from numpy.typing import ArrayLike, NDArray
from scipy import stats

log = logging.getLogger(__name__)

CELL = ["corpus", "testset", "subset"]
Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], float]
"""Maps the method's and the truth's influences, each (corpora, subsets), to a number."""
INTERVAL = ("pearson_low", "pearson_high")
LEAST = "pearson_least"
LOW = 0.9
"""Attainable ceiling below which a warning says that the truth is too noisy to rank methods."""
Warn = Callable[[str], object]


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return Pearson's correlation over corpora, mean over subsets; NaN if one is undefined."""
    return float(np.mean([_over_corpora(*columns)[0] for columns in zip(x.T, y.T, strict=True)]))


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return Spearman's correlation over corpora, mean over subsets; NaN if one is undefined."""
    return float(np.mean([_over_corpora(*columns)[1] for columns in zip(x.T, y.T, strict=True)]))


def pearson_pooled(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return Pearson's correlation over corpora of the influences averaged over subsets."""
    return _over_corpora(x.mean(1), y.mean(1))[0]


STATISTICS: dict[str, Statistic] = {
    "pearson": pearson,
    "spearman": spearman,
    "pearson_pooled": pearson_pooled,
}
"""Statistics that are always computed; `statistics` in the configuration adds to them."""


def noise_key(kind: str, statistic: str) -> str:
    """Return the key in ``metrics.json`` of a statistic's ceiling; kind: ceiling or attainable."""
    if statistic == "pearson":
        return kind
    return f"{kind}_{'pooled' if statistic == 'pearson_pooled' else statistic}"


def load_statistics(paths: Mapping[str, str]) -> dict[str, Statistic]:
    """Return `STATISTICS` and the functions at `paths` (name: ``module.function``).

    Raises:
        ValueError: a function cannot be loaded, or its name is taken.
    """
    functions = dict(STATISTICS)
    for name, path in paths.items():
        if name in STATISTICS or name in (*INTERVAL, LEAST, "n_corpora"):
            raise ValueError(f"statistics.{name}: the name is taken; give it another")
        try:
            functions[name] = get_method(path)
        except Exception as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise ValueError(
                f"statistics.{name}: cannot load {path} ({reason}); correct it"
            ) from error
    return functions


def truth_mean(truth: pd.DataFrame) -> pd.DataFrame:
    """Average the truth over train seeds; a cell that is NaN for one seed is NaN.

    truth: columns train_seed, corpus, testset, subset, influence (nats per token).
    Returns columns corpus, testset, subset, influence, in order of first appearance.
    """
    cells = truth.groupby(CELL, sort=False)["influence"]
    return cells.agg(lambda influence: influence.mean(skipna=False)).reset_index()


def agreement(
    scores: pd.DataFrame,
    truth: pd.DataFrame,
    warn: Warn = log.warning,
    statistics: Mapping[str, Statistic] = STATISTICS,
) -> dict[str, dict[str, float]]:
    """Compute a method's agreement with the truth over corpora, per test set.

    scores: columns corpus, testset, subset, influence, in any unit. truth: the same, as from
    `truth_mean`. warn: called for each undefined correlation and each cell left out.
    Returns {testset: {<statistic>, pearson_low, pearson_high, pearson_least, n_corpora}} for the
    test sets of `scores`; the interval is that of `correlation_interval`, and pearson_least the
    smallest correlation with one corpus left out, NaN for fewer than three.
    """
    result: dict[str, dict[str, float]] = {}
    for testset in scores["testset"].unique():
        ours, theirs = _matrix(scores, testset), _matrix(truth, testset)
        corpora = ours.index.intersection(theirs.index, sort=False)
        subsets = ours.columns.intersection(theirs.columns, sort=False)
        everything = {*ours.index, *theirs.index, *ours.columns, *theirs.columns}
        if left_out := everything.difference(corpora, subsets):
            warn(
                f"{testset}: corpora and subsets without both a score and a truth are left out of "
                f"the agreement: {', '.join(sorted(left_out))}"
            )
        a, b = ours.loc[corpora, subsets], theirs.loc[corpora, subsets]
        values = _values(a, b, statistics, warn, f"{testset}, agreement")
        x, y = a.to_numpy(dtype=float), b.to_numpy(dtype=float)
        values |= dict(zip(INTERVAL, correlation_interval(x, y), strict=True))
        without = pearson_without_each(x, y) if len(corpora) > 2 else np.full(1, np.nan)
        values[LEAST] = float(without.min())
        result[testset] = {**values, "n_corpora": len(corpora)}
    return result


def noise_ceiling(
    truth: pd.DataFrame,
    warn: Warn = log.warning,
    statistics: Mapping[str, Statistic] = STATISTICS,
) -> dict[str, dict[str, float | None]]:
    """Compute the mean pairwise agreement between the truths of single train seeds.

    truth: columns train_seed, corpus, testset, subset, influence.
    Returns {<statistic>: {testset: r}}; r is None if there is only one train seed.
    """
    ceiling: dict[str, dict[str, float | None]] = {name: {} for name in statistics}
    for testset in truth["testset"].unique():
        seeds = [
            _matrix(truth_of_seed, testset) for _, truth_of_seed in truth.groupby("train_seed")
        ]
        pairs = [
            _values(a, b.reindex_like(a), statistics, warn, f"{testset}, ceiling")
            for a, b in combinations(seeds, 2)
        ]
        for name in statistics:
            ceiling[name][testset] = float(np.mean([p[name] for p in pairs])) if pairs else None
    return ceiling


def attainable(r: float | None, k: int) -> float | None:
    """Return the attainable ceiling of the mean of `k` truths whose pairwise correlation is `r`.

    0 if r <= 0; None for a single truth, whose noise is unknown; NaN if r is NaN.
    """
    if r is None or k < 2:
        return None
    return float(np.sqrt(k * r / (1 + (k - 1) * r))) if not r <= 0 else 0.0


def ceilings(
    truth: pd.DataFrame,
    warn: Warn = log.warning,
    statistics: Mapping[str, Statistic] = STATISTICS,
) -> dict[str, dict[str, float | None]]:
    """Compute both ceilings of every statistic, as written to ``metrics.json``.

    truth: columns train_seed, corpus, testset, subset, influence. warn: also called for each test
    set whose attainable ceiling (Pearson) is below `LOW`.
    Returns {"ceiling": {testset: r}, "attainable": {testset: c}, ...}; for the keys of the other
    statistics see `noise_key`. The attainable ceiling is defined for the correlations of
    `STATISTICS` only.
    """
    k = truth["train_seed"].nunique()
    by_kind = {}
    for statistic, rs in noise_ceiling(truth, warn, statistics).items():
        by_kind[noise_key("ceiling", statistic)] = rs
        if statistic in STATISTICS:
            best = {testset: attainable(r, k) for testset, r in rs.items()}
            by_kind[noise_key("attainable", statistic)] = best
    for testset, value in by_kind["attainable"].items():
        if value is not None and value < LOW:
            warn(
                f"{testset}: the attainable ceiling is {value:.2f} (truths of single train seeds "
                f"correlate at {by_kind['ceiling'][testset]:.2f}): no ranking of methods can be "
                "read off this truth; train longer or with a decaying rate, or add to "
                "truth.train_seeds"
            )
    return by_kind


def correlation_interval(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Compute the 95 % jackknife interval of `pearson` over corpora, for other corpora.

    Each corpus is left out in turn; the interval is Student's t on Fisher's z scale. Its coverage
    for 8 and 10 corpora is 95 to 97 %, see `tests/test_agreement.py`.

    Args:
        x: influences (corpora, subsets).
        y: others, likewise.

    Returns:
        (low, high); (NaN, NaN) for fewer than four corpora or an undefined correlation.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11.
    """
    n = len(x)
    if n < 4 or math.isnan(all_corpora := pearson(x, y)):
        return np.nan, np.nan
    middle, without = _fisher(all_corpora), _fisher(pearson_without_each(x, y))
    error = np.sqrt((n - 1) ** 2 / n * without.var(ddof=1))
    half = stats.t.ppf((1 + 0.95) / 2, n - 1) * error
    low, high = np.tanh([middle - half, middle + half])
    return float(low), float(high)


def pearson_without_each(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `pearson` of the other corpora for each corpus, (corpora,); NaN if undefined."""
    others = np.array([np.delete(np.arange(len(x)), i) for i in range(len(x))])
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (of[others] - of[others].mean(1, keepdims=True) for of in (x, y))
        return ((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))).mean(1)


def _fisher(r: ArrayLike) -> NDArray[np.float64]:
    return np.arctanh(np.clip(r, -0.9999, 0.9999))


def _matrix(frame: pd.DataFrame, testset: str) -> pd.DataFrame:
    """Return the influences of one test set, corpora x subsets, in order of first appearance."""
    rows = frame[frame["testset"] == testset]
    matrix = rows.pivot(index="corpus", columns="subset", values="influence")
    return matrix.reindex(index=rows["corpus"].unique(), columns=rows["subset"].unique())


def _values(
    a: pd.DataFrame, b: pd.DataFrame, statistics: Mapping[str, Statistic], warn: Warn, where: str
) -> dict[str, float]:
    """Compute the statistics of two matrices, corpora x subsets, with equal labels."""
    if len(a) == 2:
        warn(f"{where}: a correlation over two corpora is always 1 or -1; add corpora")
    if not len(a.columns):
        warn(f"{where}: undefined, no subset has both a score and a truth")
        return dict.fromkeys(statistics, np.nan)
    x, y = a.to_numpy(dtype=float), b.to_numpy(dtype=float)
    compared = [(str(name), x[:, i], y[:, i]) for i, name in enumerate(a.columns)]
    for name, ours, theirs in (*compared, ("pooled", x.mean(1), y.mean(1))):
        if reason := _undefined(ours, theirs):
            warn(f"{where}, {name}: correlation undefined, {reason}")
    return {name: float(statistic(x, y)) for name, statistic in statistics.items()}


def _undefined(x: NDArray[np.float64], y: NDArray[np.float64]) -> str | None:
    """Return why the correlation of two vectors (corpora,) is undefined; None if it is defined."""
    if len(x) < 2:
        return f"{len(x)} corpus" if len(x) else "no corpus in common"
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return "an influence is missing or not finite"
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return "all corpora have the same influence"
    return None


def _over_corpora(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return Pearson's and Spearman's correlation of two vectors (corpora,); NaN if undefined."""
    if _undefined(x, y):
        return np.nan, np.nan
    return float(stats.pearsonr(x, y).statistic), float(stats.spearmanr(x, y).statistic)
