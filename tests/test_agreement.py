"""Agreement, ceiling and intervals against scipy and closed forms."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from untrac_exp.statistics.agreement import (
    STATISTICS,
    agreement,
    attainable,
    ceilings,
    correlation_interval,
    load_statistics,
    noise_ceiling,
    truth_mean,
)
from untrac_exp.statistics.intervals import bootstrap_interval, mean_interval

SCORES = {"s1": [0.1, 0.5, -0.2, 0.3], "s2": [1.0, 0.0, 2.0, 5.0]}
TRUTH = {"s1": [0.2, 0.4, -0.1, 0.9], "s2": [0.3, 0.1, 0.2, 0.4]}
CORPORA = ["zebra", "ant", "mole", "bee"]


def frame(values: dict[str, list[float]], corpora=CORPORA, **columns) -> pd.DataFrame:
    rows = [
        {**columns, "corpus": corpus, "testset": "t", "subset": subset, "influence": value}
        for subset, column in values.items()
        for corpus, value in zip(corpora, column, strict=True)
    ]
    return pd.DataFrame(rows)


def no_warning(message: str) -> None:
    raise AssertionError(message)


def test_agreement_equals_scipy_and_ignores_the_order_of_rows():
    shuffled = frame(TRUTH).sample(frac=1, random_state=1)
    result = agreement(frame(SCORES), shuffled, warn=no_warning)["t"]
    for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        expected = np.mean([function(SCORES[s], TRUTH[s]).statistic for s in SCORES])
        assert result[name] == pytest.approx(expected, abs=1e-12)
    pooled = np.corrcoef(np.mean(list(SCORES.values()), 0), np.mean(list(TRUTH.values()), 0))[0, 1]
    assert result["pearson_pooled"] == pytest.approx(pooled, abs=1e-12)
    assert result["n_corpora"] == 4


def test_truth_mean_averages_train_seeds_and_keeps_missing_cells_missing():
    a = frame({"s1": [1.0, 2.0, 3.0, np.nan]}, train_seed=0)
    b = frame({"s1": [3.0, 4.0, -3.0, 1.0]}, train_seed=1)
    mean = truth_mean(pd.concat([a, b]))
    assert list(mean.columns) == ["corpus", "testset", "subset", "influence"]
    assert list(mean["corpus"]) == CORPORA
    np.testing.assert_array_equal(mean["influence"], [2.0, 3.0, 0.0, np.nan])


def test_noise_ceiling_is_the_mean_over_pairs_of_train_seeds():
    seeds = [TRUTH["s1"], [0.3, 0.1, 0.0, 0.7], [0.1, 0.6, -0.3, 0.2]]
    truth = pd.concat([frame({"s1": values}, train_seed=k) for k, values in enumerate(seeds)])
    ceiling = noise_ceiling(truth, warn=no_warning)
    pairs = [(0, 1), (0, 2), (1, 2)]
    for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        expected = np.mean([function(seeds[i], seeds[j]).statistic for i, j in pairs])
        assert ceiling[name]["t"] == pytest.approx(expected, abs=1e-12)
    # One subset: pooling has nothing to pool.
    assert ceiling["pearson_pooled"]["t"] == pytest.approx(ceiling["pearson"]["t"])


@pytest.mark.parametrize(("k", "noise"), [(2, 0.4), (2, 1.5), (5, 1.0)])
def test_the_attainable_ceiling_is_what_an_answer_without_error_has_with_the_mean(k, noise):
    """True influences and independent noise of each train seed, over very many corpora."""
    rng = np.random.default_rng(k)
    corpora = [str(i) for i in range(4_000)]
    true = rng.normal(size=len(corpora))
    seeds = [true + noise * rng.normal(size=len(corpora)) for _ in range(k)]
    truth = pd.concat([frame({"s": s}, corpora, train_seed=i) for i, s in enumerate(seeds)])
    found = ceilings(truth, warn=lambda _: None)
    single = found["ceiling"]["t"]
    assert single == pytest.approx(1 / (1 + noise**2), abs=0.02)
    answered = agreement(frame({"s": true}, corpora), truth_mean(truth))["t"]["pearson"]
    assert found["attainable"]["t"] == pytest.approx(answered, abs=0.015)
    assert found["attainable_pooled"]["t"] == pytest.approx(answered, abs=0.015)
    assert abs(single - answered) > 0.05


def test_attainable_of_known_values():
    assert attainable(0.85, 2) == pytest.approx(0.9586, abs=1e-4)
    assert attainable(1.0, 4) == 1
    assert attainable(0.0, 3) == attainable(-0.3, 2) == 0
    assert attainable(None, 1) is None
    assert ceilings(frame(TRUTH, train_seed=0))["attainable"] == {"t": None}
    assert np.isnan(attainable(np.nan, 2))


def test_a_truth_too_noisy_to_rank_methods_is_said():
    noisy = {"s1": [0.2, 0.3, 0.1, 0.9]}, {"s1": [0.4, 0.1, 0.3, 0.36]}
    truth = pd.concat([frame(values, train_seed=k) for k, values in enumerate(noisy)])
    warnings: list[str] = []
    ceilings(truth, warn=warnings.append)
    [said] = warnings
    assert said.startswith("t: the attainable ceiling is 0.58 (truths of single train seeds corr")
    ceilings(pd.concat([frame(TRUTH, train_seed=k) for k in (0, 1)]), warn=no_warning)


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(("corpora", "subsets", "rho"), [(8, 1, 0.8), (8, 4, 0.3), (10, 4, 0.8)])
def test_the_interval_covers_the_correlation_over_all_corpora(corpora, subsets, rho, heavy):
    """Influences whose subsets have half of their variance in common, normal or with t4 tails."""
    rng = np.random.default_rng(corpora + subsets)

    def draw():
        values = rng.normal(size=(corpora, 1)), rng.normal(size=(corpora, subsets))
        if heavy:
            values = (stats.t.ppf(stats.norm.cdf(of), 4) for of in values)
        return sum(values) / 2**0.5

    covered = []
    for _ in range(600):
        x = draw()
        low, high = correlation_interval(x, rho * x + (1 - rho**2) ** 0.5 * draw())
        covered.append(low <= rho <= high)
    assert 0.93 - 0.01 <= np.mean(covered) <= 0.97 + 0.01  # ± the error of 600 draws


@pytest.mark.parametrize(("z", "spread"), [(0.0, 0.3), (0.5, 0.7), (1.0, 0.3)])
def test_the_interval_covers_the_mean_of_all_worlds(z, spread):
    """Of eight correlations whose Fisher z is normal."""
    rng = np.random.default_rng(0)
    expected = np.tanh(z + spread * rng.normal(size=10**6)).mean()
    covered = []
    for seed in range(400):
        low, high = mean_interval(np.tanh(z + spread * rng.normal(size=8)), 2000, seed)
        covered.append(low <= expected <= high)
    assert 0.93 - 0.015 <= np.mean(covered) <= 0.97 + 0.015  # ± the error of 400 draws


def test_the_interval_of_a_mean_needs_four_units_that_differ():
    assert np.isnan(mean_interval([0.1, 0.2, 0.3])).all()
    assert np.isnan(mean_interval([0.5] * 8)).all()
    half = 1.96 * np.arange(50.0).std(ddof=1) / 50**0.5
    expected = pytest.approx([24.5 - half, 24.5 + half], abs=0.6)
    assert list(mean_interval(np.arange(50.0))) == expected


def test_the_least_agreement_is_that_without_the_corpus_that_helps_most():
    """One corpus far from the others makes the correlation; without it none is left."""
    x, y = np.array([9.0, 1, 2, 1, 2]), np.array([9.0, 1, 1, 2, 2])
    names = [f"c{i}" for i in range(5)]
    table = pd.DataFrame({"corpus": names, "testset": "t", "subset": "s"})
    [found] = agreement(table.assign(influence=x), table.assign(influence=y)).values()
    assert found["pearson"] > 0.9
    assert found["pearson_least"] == pytest.approx(0.0, abs=1e-12)


def test_the_interval_needs_four_corpora_and_defined_influences():
    x = np.arange(8.0).reshape(4, 2) ** 2
    assert np.isfinite(correlation_interval(x, x + [[0, 1]] * 4)).all()
    assert np.isnan(correlation_interval(x[:3], x[:3])).all()
    assert np.isnan(correlation_interval(x, np.ones((4, 2)))).all()
    assert np.isnan(correlation_interval(x, np.where(x == 1, np.nan, x))).all()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([0.5, 0.5, 0.5, 0.5], "same influence"),
        ([0.1, np.nan, 0.3, 0.4], "not finite"),
        ([0.1, np.inf, 0.3, 0.4], "not finite"),
    ],
)
def test_an_undefined_correlation_is_nan_and_said(bad, said):
    warnings: list[str] = []
    result = agreement(frame({**SCORES, "s1": bad}), frame(TRUTH), warn=warnings.append)["t"]
    assert np.isnan(result["pearson"])
    assert np.isnan(result["spearman"])
    assert any("t, agreement, s1" in w and said in w for w in warnings)


def test_one_corpus_has_no_correlation_and_two_are_said_to_be_too_few():
    warnings: list[str] = []
    one = frame({"s1": [1.0]}, corpora=["ant"])
    assert np.isnan(agreement(one, one, warn=warnings.append)["t"]["pearson"])
    assert "1 corpus" in warnings[0]
    two = frame({"s1": [1.0, 2.0]}, corpora=["ant", "bee"])
    warnings.clear()
    assert agreement(two, two, warn=warnings.append)["t"]["pearson"] == pytest.approx(1)
    assert "two corpora" in warnings[0]


def test_cells_missing_on_one_side_are_named():
    warnings: list[str] = []
    truth = frame(TRUTH)
    without_mole = truth[truth["corpus"] != "mole"]
    result = agreement(frame(SCORES), without_mole, warn=warnings.append)["t"]
    assert result["n_corpora"] == 3
    assert "mole" in warnings[0]
    warnings.clear()
    other = agreement(frame(SCORES), truth.assign(testset="other"), warn=warnings.append)["t"]
    assert np.isnan(other["pearson"])
    assert other["n_corpora"] == 0
    assert warnings


@pytest.fixture
def losses():
    rng = np.random.default_rng(3)
    tokens = rng.integers(3, 40, size=60)
    before = rng.gamma(2.0, 1.5, 60) * tokens
    after = before + (0.3 + rng.normal(0, 0.5, (5, 60))) * tokens
    return before, after, tokens


def test_bootstrap_equals_scipy_up_to_resampling_noise(losses):
    before, after, tokens = losses

    def mean_difference(difference, weights, axis):
        return difference.sum(axis) / weights.sum(axis)

    low, high = bootstrap_interval(after[0] - before, tokens, n_resamples=20_000)
    reference = stats.bootstrap(
        (after[0] - before, tokens), mean_difference, paired=True, vectorized=True,
        n_resamples=20_000, method="percentile", rng=1,
    ).confidence_interval  # fmt: skip
    width = high - low
    assert low == pytest.approx(reference.low, abs=0.03 * width)
    assert high == pytest.approx(reference.high, abs=0.03 * width)


def test_bootstrap_batch_shares_resamples_and_repeats_bit_for_bit(losses):
    before, after, tokens = losses
    difference = after - before
    low, high = bootstrap_interval(difference, tokens, n_resamples=250)
    assert low.shape == high.shape == (5,)
    one = bootstrap_interval(difference[2], tokens, n_resamples=250)
    np.testing.assert_allclose((low[2], high[2]), one, rtol=1e-12)
    np.testing.assert_array_equal((low, high), bootstrap_interval(difference, tokens, 250))
    assert not np.array_equal(low, bootstrap_interval(difference, tokens, 250, seed=1)[0])


def test_bootstrap_needs_two_examples():
    low, high = bootstrap_interval([[2.0], [3.0]], [4])
    assert low.shape == (2,)
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_a_statistic_of_ones_own_is_computed_like_the_others():
    def slope(x, y):
        return float((x * y).sum() / (x * x).sum())

    statistics = {**STATISTICS, "slope": slope}
    truth = frame(TRUTH)
    found = agreement(frame(SCORES), truth, no_warning, statistics)["t"]
    x = np.array([SCORES[s] for s in TRUTH]).T
    y = np.array(list(TRUTH.values())).T
    assert found["slope"] == pytest.approx(slope(x, y))
    assert found["pearson"] == agreement(frame(SCORES), truth, no_warning)["t"]["pearson"]
    noisy = pd.concat([frame(TRUTH, train_seed=k) for k in (0, 1)])
    both = ceilings(noisy, no_warning, statistics)
    assert both["ceiling_slope"] == {"t": pytest.approx(1)}
    assert "attainable_slope" not in both  # Spearman and Brown's formula is for correlations


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pearson": "math.sin"}, "statistics.pearson: the name is taken"),
        ({"mine": "math.nothing"}, "statistics.mine: cannot load math.nothing"),
    ],
)
def test_a_statistic_that_cannot_be_is_named(given, said):
    with pytest.raises(ValueError, match=said):
        load_statistics(given)


def test_bootstrap_with_equal_lengths_is_near_the_normal_interval():
    rng = np.random.default_rng(0)
    difference = rng.normal(0.2, 1.0, 2_000)
    low, high = bootstrap_interval(difference, np.ones(2_000), n_resamples=4_000)
    half = stats.norm.ppf(0.975) * difference.std() / np.sqrt(2_000)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert (high + low) / 2 == pytest.approx(difference.mean(), abs=0.05 * half)
