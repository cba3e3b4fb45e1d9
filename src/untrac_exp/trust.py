"""Accuracy of claims "this corpus has more influence than that one", checked against a truth.

The bootstrap intervals of one run cover the sampling of examples only. Other sources of error (the
unlearning step at which losses are read, the direction, the seed) are added by `widen_interval`.
`check_claims` then compares the claims that remain with retraining.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from untrac_exp.agreement import truth_mean

QUESTION = ["testset", "subset"]
PAIR = ["first", "second"]


class Trust(NamedTuple):
    """Number of claims, number and share of correct ones, and the interval of the share.

    share, low and high are NaN if there is no claim.
    """

    claims: int
    right: int
    share: float
    low: float
    high: float


def widen_interval(
    difference: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    extra: ArrayLike,
    level: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add an independent source of error to an interval.

    Each half-width h becomes sqrt(h² + (z · extra)²), where z is the normal quantile of `level`.

    Args:
        difference: point estimate, such as the difference of two corpora's influences.
        low: lower end of its interval at `level`.
        high: upper end.
        extra: standard error of what the interval leaves out, such as the standard deviation over
            seeds, steps or directions. All arrays broadcast; nats per token.
        level: confidence level.

    Returns:
        (low, high).
    """
    middle = np.asarray(difference, np.float64)
    error = stats.norm.ppf((1 + level) / 2) * np.asarray(extra, np.float64)
    return (
        middle - np.hypot(middle - np.asarray(low, np.float64), error),
        middle + np.hypot(np.asarray(high, np.float64) - middle, error),
    )


def check_claims(claims: pd.DataFrame, truth: pd.DataFrame, level: float = 0.95) -> Trust:
    """Count the claims that agree with the truth.

    The interval is Clopper and Pearson's. Claims are dependent, so it uses an effective number of
    claims: for each subset, the number of corpora in its claims minus one, and at most the number
    of distinct pairs.

    Args:
        claims: columns testset, subset, first, second. A row says that corpus `first` has more
            influence on the subset than `second`. Rows may repeat.
        truth: columns train_seed, corpus, testset, subset, influence. A claim is correct if the
            difference of the means over train seeds is positive.
        level: confidence level.

    Raises:
        ValueError: the truth lacks a corpus and subset of a claim.
    """
    means = truth_mean(truth).set_index([*QUESTION, "corpus"])["influence"]
    lead = _of(claims, "first", means) - _of(claims, "second", means)
    n, right = len(claims), int((lead > 0).sum())
    if n == 0:
        return Trust(0, 0, np.nan, np.nan, np.nan)
    independent = 0
    for _, rows in claims.groupby(QUESTION):
        pairs = {frozenset(pair) for pair in rows[PAIR].itertuples(index=False)}
        independent += min(len(pairs), len(frozenset().union(*pairs)) - 1)
    tail, share = (1 - level) / 2, right / n
    hits, misses = share * independent, (1 - share) * independent
    low = stats.beta.ppf(tail, hits, misses + 1) if right else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, misses) if right < n else 1.0
    return Trust(n, right, share, float(low), float(high))


def _of(claims: pd.DataFrame, corpus: str, means: pd.Series) -> NDArray[np.float64]:
    """Return the mean truth of the corpus in this column, for every claim."""
    index = pd.MultiIndex.from_frame(claims[[*QUESTION, corpus]], names=means.index.names)
    found = means.reindex(index)
    if found.isna().any():
        missing = found.index[found.isna()][0]
        raise ValueError(f"the truth has no influence of {', '.join(map(str, missing[::-1]))}")
    return found.to_numpy()
