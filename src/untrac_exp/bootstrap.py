"""Bootstrap intervals of token-weighted mean loss differences, resampling examples."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
