"""Bootstrap intervals of token-weighted mean loss differences, resampling examples."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from untrac_exp.methods.base import Influences

_ENOUGH = 5
"""Corpora from which on their spread is a standard deviation."""
_ERROR = 0.82
_TWO = 2 * stats.t.ppf((1 + 0.95) / 2, 1)
"""Stands for the quantile if there are only two corpora."""


def mean_interval(
    values: ArrayLike, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Compute the 95 % studentised bootstrap interval of a mean of independent units.

    Its coverage for eight correlations is tested in `tests/test_agreement.py`; it is lower where
    most of them are near 1.

    Args:
        values: one for each unit, such as the differences of two methods in each world, (n,).
        n_resamples: number of resamples.
        seed: of the resamples.

    Returns:
        (low, high); NaN for fewer than four units or equal values.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 12.5.
    """
    of_units = np.asarray(values, np.float64)
    n = of_units.size
    if n < 4 or np.ptp(of_units) == 0:
        return np.nan, np.nan
    draws = of_units[np.random.default_rng(seed).integers(0, n, (n_resamples, n))]
    errors = draws.std(axis=1, ddof=1)
    usable = errors > 1e-12  # not one unit alone
    t = (draws.mean(axis=1) - of_units.mean())[usable] / errors[usable]
    low, high = np.quantile(t, [(1 - 0.95) / 2, (1 + 0.95) / 2])
    error = of_units.std(ddof=1)
    return float(of_units.mean() - high * error), float(of_units.mean() - low * error)


def bootstrap_interval(
    difference: ArrayLike,
    tokens: ArrayLike,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute 95 % percentile bootstrap intervals of the token-weighted mean loss difference.

    difference: summed change of each example's loss, shape (N,), nats; or (K, N) for K models,
    which share the resamples so that their differences are paired.
    tokens: scored tokens of each example, shape (N,).
    Returns (low, high), shape () or (K,), nats per token; NaN for fewer than two examples.
    """
    means = bootstrap_means(difference, tokens, np.random.default_rng(seed), n_resamples)
    return percentile_interval(means)


def bootstrap_means(
    difference: ArrayLike, tokens: ArrayLike, rng: np.random.Generator, n_resamples: int = 1000
) -> NDArray[np.float64]:
    """Resample examples and return token-weighted means, (..., n_resamples), nats per token.

    difference: summed change of each example's loss, shape (..., N); all rows share the resamples.
    tokens: scored tokens of each example, shape (N,). NaN for fewer than two examples.
    """
    difference, weights_of = np.asarray(difference, np.float64), np.asarray(tokens, np.float64)
    n = weights_of.size
    assert difference.shape[-1] == n, f"{difference.shape} losses for {n} examples"
    if n < 2:
        return np.full((*difference.shape[:-1], n_resamples), np.nan)
    means = []
    # A resample is its counts of each example. Blocks of 100 resamples bound the memory.
    for start in range(0, n_resamples, 100):
        size = min(100, n_resamples - start)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)
        means.append((counts @ difference.T).T / (counts @ weights_of))
    return np.concatenate(means, axis=-1)


def percentile_interval(
    draws: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the central 95 % interval of draws (..., R): (low, high), each of shape (...)."""
    tail = (1 - 0.95) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=-1)
    return low, high


def with_intervals(influences: Influences) -> pd.DataFrame:
    """Return the scores of a method with 95 % intervals over the evaluated examples.

    Returns:
        Columns corpus, testset, subset, influence, ci_low, ci_high. The interval is NaN if the
        method evaluates no losses.
    """
    scores = influences.scores
    if not influences.changes:
        return scores.assign(ci_low=np.nan, ci_high=np.nan)
    intervals = [bootstrap_interval(change.nats, change.tokens) for change in influences.changes]
    low, high = np.array(intervals, dtype=np.float64).T
    scores = scores.assign(ci_low=low, ci_high=high)
    return widen(scores) if influences.partial else scores


def widen_interval(
    difference: ArrayLike, low: ArrayLike, high: ArrayLike, extra: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add an independent source of error to a 95 % interval.

    Each half-width h becomes sqrt(h² + (1.96 · extra)²).

    Args:
        difference: point estimate, such as the difference of two corpora's influences.
        low: lower end of its interval.
        high: upper end.
        extra: standard error of what the interval leaves out, such as the standard deviation over
            seeds, steps or directions. All arrays broadcast; nats per token.

    Returns:
        (low, high).
    """
    values = (difference, low, high, extra)
    middle, low, high, extra = (np.asarray(value, np.float64) for value in values)
    error = stats.norm.ppf((1 + 0.95) / 2) * extra
    return middle - np.hypot(middle - low, error), middle + np.hypot(high - middle, error)


def widen(scores: pd.DataFrame) -> pd.DataFrame:
    """Widen the intervals of scores from part of the sample, as `rank` does."""
    cells = scores.groupby(["testset", "subset"], sort=False)["influence"]
    errors = cells.transform(lambda influences: order_error(influences))
    low, high = widen_interval(scores["influence"], scores["ci_low"], scores["ci_high"], errors)
    return scores.assign(ci_low=low, ci_high=high)


def order_error(influences: Iterable[float]) -> float:
    """Return the standard error of a difference of influences that texts do not show.

    Resampling texts shows nothing of the errors of the model, the step and the direction. So the
    scores' own spread over the corpora is taken for error: of random scores, at most 5 % of the
    pairs are told apart, as `tests/test_ranking.py` measures.

    Args:
        influences: of each corpus on one test set, nats per token.

    Returns:
        The spread, times 0.82 and the 97.5 % quantile of Student's t: 2.0 spreads for eight
        corpora. The spread is the standard deviation without the corpus that is farthest from the
        median, as its distance would count as an error; of fewer than five corpora the root mean
        square of the others, whose standard deviation would be hardly known, and twice that for
        two corpora. 0 for one corpus.
    """
    values = np.array(list(influences))
    if len(values) < 2:
        return 0.0
    middle = np.median(values) if len(values) > 2 else 0.0
    rest = np.delete(values, np.abs(values - middle).argmax())
    spread = rest.std(ddof=1) if len(values) >= _ENOUGH else np.sqrt(np.mean(rest**2))
    quantile = stats.t.ppf((1 + 0.95) / 2, len(values) - 2) if len(values) > 2 else _TWO
    return float(_ERROR * spread * quantile)
