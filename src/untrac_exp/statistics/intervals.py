"""Bootstrap intervals of token-weighted mean loss differences, resampling examples."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from untrac_exp.methods.base import Influences

_ENOUGH = 5
"""Corpora from which on their spread is a standard deviation."""


def bootstrap_interval(
    nll_before: ArrayLike,
    nll_after: ArrayLike,
    tokens: ArrayLike,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute 95 % percentile bootstrap intervals of the token-weighted mean loss difference.

    nll_before: summed negative log-likelihood of each example, shape (N,), nats.
    nll_after: the same after unlearning, shape (N,), or (K, N) for K models, which share the
    resamples so that their differences are paired.
    tokens: scored tokens of each example, shape (N,).
    Returns (low, high), shape () or (K,), nats per token; NaN for fewer than two examples.
    """
    difference = np.asarray(nll_after, np.float64) - np.asarray(nll_before, np.float64)
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
    intervals = [
        bootstrap_interval(
            change.before.nll.numpy() / change.unit,
            change.nll_after / change.unit,
            change.before.tokens.numpy(),
        )
        for change in influences.changes
    ]
    low, high = np.array(intervals, dtype=np.float64).T
    scores = scores.assign(ci_low=low, ci_high=high)
    return widen(scores, influences.relative_error) if influences.partial else scores


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


def widen(scores: pd.DataFrame, relative_error: float) -> pd.DataFrame:
    """Widen the intervals of scores from part of the sample, as `rank` does."""
    cells = scores.groupby(["testset", "subset"], sort=False)["influence"]
    spreads = cells.transform(lambda influences: spread(influences))
    low, high = widen_interval(
        scores["influence"], scores["ci_low"], scores["ci_high"], relative_error * spreads
    )
    return scores.assign(ci_low=low, ci_high=high)


def spread(influences: Iterable[float]) -> float:
    """Return the standard deviation over corpora; 0 for a single corpus.

    The one farthest from the median is left out, as its distance would count as an error. Of fewer
    than five corpora it is the root mean square of the others, whose standard deviation would be
    hardly known.
    """
    values = np.array(list(influences))
    if len(values) < 2:
        return 0.0
    middle = np.median(values) if len(values) > 2 else 0.0
    rest = np.delete(values, np.abs(values - middle).argmax())
    return float(rest.std(ddof=1) if len(values) >= _ENOUGH else np.sqrt(np.mean(rest**2)))
