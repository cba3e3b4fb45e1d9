"""Scores of methods that evaluate losses."""

from typing import Any

import numpy as np

from untrac_exp.bootstrap import bootstrap_interval
from untrac_exp.methods.base import Subset
from untrac_exp.models.loss import Losses


def score_row(
    corpus: str,
    subset: Subset,
    before: Losses,
    nll_after: np.ndarray,
    seed: int = 0,
    unit: float = 1.0,
) -> dict[str, Any]:
    """Return a row of scores: the change in loss per token, with its bootstrap interval.

    nll_after: (N,) negative log-likelihood of each example after unlearning, in nats. unit: as in
    `Change`.
    """
    nll, tokens = before.nll.numpy() / unit, before.tokens.numpy()
    nll_after = nll_after / unit
    low, high = bootstrap_interval(nll, nll_after, tokens, seed=seed)
    influence = float((nll_after - nll).sum() / tokens.sum())
    return {
        "corpus": corpus, "testset": subset.testset, "subset": subset.subset,
        "influence": influence, "ci_low": float(low), "ci_high": float(high),
    }  # fmt: skip
