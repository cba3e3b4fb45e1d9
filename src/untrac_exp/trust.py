"""How often a claim "this corpus helps more than that one" is what training again says.

The intervals of one run cover the sampling of examples alone. What else an answer depends on (the
step at which it is read, the direction, the seed) enters as an extra standard error, `widened`.
Whether the claims that are left can be trusted is `checked` against a truth.
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
    """How many claims were made, how many are right, and their share with its interval.

    share, low and high are NaN where there is no claim.
    """

    claims: int
    right: int
    share: float
    low: float
    high: float


def widened(
    difference: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    extra: ArrayLike,
    level: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval of a paired difference with one more, independent source of error.

    difference, low, high: the difference of two corpora's influences and its interval at `level`.
    extra: standard error of the same difference from what the interval leaves out, such as the
    standard deviation over seeds, steps or directions. All broadcast; nats per token.
    Each half of the interval becomes the root of the sum of its square and of (z · extra)², z
    being the normal quantile. Returns (low, high).
    """
    middle = np.asarray(difference, np.float64)
    error = stats.norm.ppf((1 + level) / 2) * np.asarray(extra, np.float64)
    return (
        middle - np.hypot(middle - np.asarray(low, np.float64), error),
        middle + np.hypot(np.asarray(high, np.float64) - middle, error),
    )


def checked(claims: pd.DataFrame, truth: pd.DataFrame, level: float = 0.95) -> Trust:
    """How many claims the truth bears out.

    claims: columns testset, subset, first, second; a row says that corpus `first` has more
    influence on the subset than `second`. Several rankings may claim the same.
    truth: columns train_seed, corpus, testset, subset, influence. A claim is right where the mean
    over train seeds has the same sign.
    The interval is Clopper and Pearson's for fewer claims than were made, since they hang together:
    a subset counts for one less than the corpora that are named in its claims, and for no more than
    its pairs, however many rankings claim them.
    ValueError names a cell that the truth lacks.
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
    """The mean truth of the corpus in this column, for every claim."""
    index = pd.MultiIndex.from_frame(claims[[*QUESTION, corpus]], names=means.index.names)
    found = means.reindex(index)
    if found.isna().any():
        missing = found.index[found.isna()][0]
        raise ValueError(f"the truth has no influence of {', '.join(map(str, missing[::-1]))}")
    return found.to_numpy()
