"""Claims against a truth, on influences whose order is known."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.worlds.trust import Trust, check_claims
from untrac_exp.statistics.intervals import widen_interval

CORPORA = list("abcdefgh")


def truth_of(influences: np.ndarray, noise: float, seeds: int, rng) -> pd.DataFrame:
    """influences: (corpora, subsets), to which every train seed adds noise of its own."""
    rows = [
        (seed, corpus, "t", str(s), influences[c, s] + noise * rng.normal())
        for seed in range(seeds)
        for c, corpus in enumerate(CORPORA)
        for s in range(influences.shape[1])
    ]
    return pd.DataFrame(rows, columns=["train_seed", "corpus", "testset", "subset", "influence"])


def claims_of(answer: np.ndarray, se: float, extra: float) -> pd.DataFrame:
    """The pairs (corpora, subsets) that a paired test tells apart; se: of one corpus' influence."""
    rows = []
    for s in range(answer.shape[1]):
        for a, b in combinations(range(len(CORPORA)), 2):
            a, b = (a, b) if answer[a, s] > answer[b, s] else (b, a)
            lead = answer[a, s] - answer[b, s]
            half = 1.96 * se * 2**0.5
            low, high = widen_interval(lead, lead - half, lead + half, extra * 2**0.5)
            assert high - lead == pytest.approx(lead - low)
            if low > 0:
                rows.append(("t", str(s), CORPORA[a], CORPORA[b]))
    return pd.DataFrame(rows, columns=["testset", "subset", "first", "second"])


def test_claims_are_right_where_the_mean_of_the_train_seeds_has_their_sign():
    """a > b in the mean although not for one seed; c is below both."""
    truth = pd.DataFrame(
        [(0, "a", 1.0), (0, "b", 2.0), (0, "c", 0.0), (1, "a", 4.0), (1, "b", 1.0), (1, "c", 0.5)],
        columns=["train_seed", "corpus", "influence"],
    ).assign(testset="t", subset="s")
    claims = pd.DataFrame(
        [("a", "b"), ("a", "c"), ("b", "c"), ("c", "b")], columns=["first", "second"]
    ).assign(testset="t", subset="s")
    found = check_claims(claims, truth)
    assert (found.claims, found.right, found.share) == (4, 3, 0.75)
    # three corpora: two claims can be independent, and three quarters of them are 1.5
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 1.5, 1.5))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 2.5, 0.5))
    twice = check_claims(pd.concat([claims, claims]), truth)  # another ranking that says the same
    assert twice == Trust(8, 6, *found[2:])
    one = check_claims(claims[:1], truth)
    assert one[:3] == (1, 1, 1.0)
    assert (one.low, one.high) == (pytest.approx(stats.binomtest(1, 1).proportion_ci().low), 1.0)


def test_no_claim_has_no_share_and_a_corpus_without_truth_is_named():
    truth = truth_of(np.zeros((8, 1)), 1, 1, np.random.default_rng(0))
    claims = pd.DataFrame(
        [("t", "0", "a", "zebra")], columns=["testset", "subset", "first", "second"]
    )
    assert np.isnan(check_claims(claims[:0], truth)[2:]).all()
    with pytest.raises(ValueError, match="no influence of zebra, 0, t"):
        check_claims(claims, truth)


def test_an_extra_error_widens_as_variances_add_and_none_leaves_the_interval():
    low, high = widen_interval([1.0, 2.0], [0.5, 1.9], [1.6, 2.1], 0.0)
    np.testing.assert_allclose([low, high], [[0.5, 1.9], [1.6, 2.1]])
    low, high = widen_interval(0.0, -1.96 * 3, 1.96 * 3, 4.0)
    assert (low, high) == (pytest.approx(-1.96 * 5, rel=1e-4), pytest.approx(1.96 * 5, rel=1e-4))


def test_the_interval_covers_the_share_of_right_claims():
    """The share over a great many subsets lies in the interval that eight of them give."""
    rng = np.random.default_rng(0)

    def draw(subsets):
        influences = rng.normal(size=(8, subsets))
        answer = influences + 0.7 * rng.normal(size=influences.shape)
        return check_claims(claims_of(answer, 0.3, 0.0), truth_of(influences, 0.2, 2, rng))

    expected = draw(400).share
    found = [draw(8) for _ in range(60)]
    covered = [one.low <= expected <= one.high for one in found]
    assert np.mean(covered) >= 0.9
    assert np.mean([one.high - one.low for one in found]) < 0.3
