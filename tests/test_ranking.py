"""What single losses say about a ranking, against closed forms."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from experiments.worlds.trust import Trust, check_claims, pairs
from untrac_exp.data.encoding import IGNORED, pad
from untrac_exp.methods.base import Change, Subset
from untrac_exp.models.loss import Losses
from untrac_exp.report.result_files import SCORES, SHARED
from untrac_exp.statistics import ranking as ranking_module
from untrac_exp.statistics.intervals import order_error, widen, widen_interval
from untrac_exp.statistics.ranking import rank, top_examples, weaknesses

T = Subset("t", "all")
NOTHING = pd.DataFrame(columns=SHARED)


def change(corpus, of, differences, subset=T, tokens=None):
    n = len(differences)
    tokens = torch.ones(n, dtype=torch.int64) if tokens is None else torch.tensor(tokens)
    after = torch.tensor(differences, dtype=torch.float64)
    return Change(corpus, subset, of, Losses(0 * after, tokens), Losses(after, tokens))


@pytest.fixture
def only_texts(monkeypatch):
    """Intervals of texts alone, without the error that the spread of the scores stands for."""
    monkeypatch.setattr(ranking_module, "order_error", lambda _: 0.0)


def noise(n, seed):
    return np.random.default_rng(seed).normal(size=n)


def test_corpora_read_on_the_same_texts_are_compared_text_by_text(only_texts):
    """A constant shift under large common noise: each interval is wide, their difference sure."""
    common = noise(60, 0)
    table = rank([change("b", T, common), change("a", T, common + 0.01)])
    first = table.iloc[0]
    assert list(table["corpus"]) == ["a", "b"]
    assert first["ci_high"] - first["ci_low"] > 0.4
    assert first[["lead", "lead_low", "lead_high"]].tolist() == pytest.approx([0.01] * 3)
    assert table.iloc[1][["lead", "lead_low", "lead_high"]].isna().all()


def test_corpora_read_on_their_own_texts_differ_by_independent_means(only_texts):
    """The half width is that of normal theory for a difference of two means."""
    a, b = 0.5 + noise(300, 1), 0.4 + 2 * noise(200, 2)
    first = rank([change("a", "a", a), change("b", "b", b)]).iloc[0]
    expected = 1.96 * np.sqrt(a.var() / 300 + b.var() / 200)
    assert (first["lead_high"] - first["lead_low"]) / 2 == pytest.approx(expected, rel=0.1)


def test_a_test_set_is_the_mean_of_its_subsets_and_long_texts_weigh_more():
    other = Subset("t", "more")
    changes = [
        change("a", T, [1.0, 6.0], tokens=[1, 3]),  # 7 / 4
        change("a", other, [2.0, 2.0], other),
        change("b", T, [0.0, 0.0], tokens=[1, 3]),
        change("b", other, [1.0, 1.0], other),
    ]
    table = rank(changes)
    assert table["influence"].tolist() == [(7 / 4 + 2) / 2, 0.5]


def test_pairs_of_a_subset_are_compared_as_neighbours_in_a_ranking_are():
    """With one subset the pairs of neighbours are the ranking's leads; all others are there too."""
    changes = [change(name, T, noise(50, i) + i / 2) for i, name in enumerate("abc")]
    table, found = rank(changes), pairs(changes)
    assert found[["first", "second"]].values.tolist() == [["c", "b"], ["c", "a"], ["b", "a"]]
    assert set(zip(found["testset"], found["subset"], strict=True)) == {("t", "all")}
    neighbours = (
        found[found["second"] != "a"].iloc[[0]].merge(table, left_on="first", right_on="corpus")
    )
    for ours, theirs in (("difference", "lead"), ("low", "lead_low"), ("high", "lead_high")):
        assert neighbours[ours].tolist() == neighbours[theirs].tolist()
    far = found[found["second"] == "a"].iloc[0]
    influence = table.set_index("corpus")["influence"]
    assert far["difference"] == pytest.approx(influence["c"] - influence["a"])


def test_every_difference_is_widened_by_the_spread_of_the_influences():
    """Without noise in the texts the half width is 0.82 t spreads, at the normal quantile."""
    influences = {"a": 1.0, "b": 0.5, "c": 0.2, "d": 0.1, "e": 0.0}
    changes = [change(name, T, [value] * 5) for name, value in influences.items()]
    half = 1.959964 * 0.82 * 3.182446 * np.std([0.5, 0.2, 0.1, 0.0], ddof=1)
    found = pairs(changes)
    assert found["low"].tolist() == pytest.approx((found["difference"] - half).tolist())
    assert found["high"].tolist() == pytest.approx((found["difference"] + half).tolist())
    leads = rank(changes)
    assert leads["lead_low"].tolist()[:2] == pytest.approx([0.5 - half, 0.3 - half])
    bare = pairs(changes, widened=False)
    assert bare["low"].tolist() == pytest.approx(bare["difference"].tolist())


def test_a_corpus_far_from_all_others_does_not_widen_its_own_lead():
    influences = {"far": 9.0, "a": 0.3, "b": 0.2, "c": 0.1, "d": 0.0}
    changes = [change(name, T, [value] * 5) for name, value in influences.items()]
    others = [value for name, value in influences.items() if name != "far"]
    first = rank(changes).iloc[0]
    half = 1.959964 * 0.82 * 3.182446 * np.std(others, ddof=1)
    assert first["lead_low"] == pytest.approx(8.7 - half)
    assert first["lead_low"] > 0
    # of fewer than five corpora the root mean square of the rest
    few = rank(changes[:4]).iloc[0]
    half = 1.959964 * 0.82 * 4.302653 * np.sqrt(np.mean(np.square([0.3, 0.2, 0.1])))
    assert few["lead_low"] == pytest.approx(8.7 - half)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 8, 10, 16])
def test_random_scores_tell_apart_at_most_five_percent_of_pairs(n):
    """Without any noise in the texts, which would only widen the intervals."""
    scores = np.random.default_rng(n).normal(size=(2000, n))
    half = 1.959964 * np.array([order_error(of_corpora) for of_corpora in scores])
    a, b = np.triu_indices(n, 1)
    told = np.abs(scores[:, a] - scores[:, b]) > half[:, None]
    assert told.mean() <= 0.055


def test_a_first_group_ahead_of_a_last_one_is_named(monkeypatch):
    values = {"a": 1.0, "b": 0.99, "c": 0.5, "d": 0.02, "e": 0.01, "f": 0.0}
    changes = [change(name, T, [value] * 40) for name, value in values.items()]
    monkeypatch.setattr(ranking_module, "order_error", lambda _: 0.3)
    ranking = rank(changes)
    assert ranking["behind"].tolist() == [3, 3, 0, 0, 0, 0]
    [warning] = weaknesses(ranking, {T: encoded(40)}, NOTHING)
    assert "'a' and 'b' cannot be told apart, but 'a', 'b' can from 'd', 'e', 'f'" in warning


def test_an_answer_of_part_of_the_samples_has_intervals_as_wide_for_single_influences():
    influences = {"a": 1.0, "b": 0.4, "c": 0.0}
    changes = [change(name, T, [value] * 5) for name, value in influences.items()]
    half = 1.959964 * 0.82 * 12.706205 * np.sqrt(np.mean(np.square([0.4, 0.0])))
    whole, part = rank(changes), rank(changes, partial=True)
    assert whole["ci_high"].tolist() == pytest.approx(whole["influence"].tolist())
    assert part["ci_high"].tolist() == pytest.approx((part["influence"] + half).tolist())
    scores = pd.DataFrame(
        [(name, *T, value, value, value) for name, value in influences.items()], columns=SCORES
    )
    assert widen(scores)["ci_low"].tolist() == pytest.approx(
        [value - half for value in influences.values()]
    )


def encoded(n):
    return pad([[1, i + 2] for i in range(n)], [[IGNORED, i + 2] for i in range(n)], False)


def test_each_text_is_shown_once_with_the_corpus_that_moved_it_most():
    changes = [change("a", T, [0.1, 0.9, 0.2]), change("b", T, [0.5, 0.3, 0.1])]
    table = top_examples(changes, {T: encoded(3)}, lambda ids: f"text {ids}")
    assert table[["corpus", "index", "change"]].values.tolist() == [
        ["a", 1, 0.9], ["b", 0, 0.5], ["a", 2, 0.2],
    ]  # fmt: skip
    assert table["text"].tolist() == ["text [3]", "text [2]", "text [4]"]
    assert set(table["read"]) == {"test set"}


def test_at_most_twenty_texts_are_shown():
    changes = [change("a", "a", np.arange(50.0)), change("b", "b", np.arange(50.0) + 0.5)]
    table = top_examples(changes, {"a": encoded(50), "b": encoded(50)}, str)
    assert len(table) == 20
    assert set(table["read"]) == {"corpus"}
    assert table["change"].tolist() == sorted([*np.arange(40.0, 50), *np.arange(40.5, 50)])[::-1]


def weak(a, b, n=40, shared=NOTHING):
    ranking = rank([change("a", T, a), change("b", T, b)])
    return weaknesses(ranking, {T: encoded(n)}, shared)


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ({"a": noise(40, 0), "b": noise(40, 1)}, "cannot be told apart, nor can the first"),
        ({"a": [1.0, 1.1], "b": [0.1, 0.0], "n": 2}, "has 2 texts: with fewer than 32"),
        ({"a": [1.0], "b": [0.1], "n": 1}, "has 1 text: with fewer than 32"),
        ({"a": 1 + noise(40, 0) / 10, "b": noise(40, 1) / 10,
          "shared": pd.DataFrame([["b", "t", "all", 0, 1.0, "x"]], columns=SHARED)},
         "1 text of test set 't' can be read in the sample of corpus 'b'"),
    ],
    ids=["tiny", "few", "one", "shared"],
)  # fmt: skip
def test_weak_answers_say_so(case, says):
    assert any(says in warning for warning in weak(**case))


def test_corpora_that_cannot_be_told_apart_are_said_to_be(only_texts):
    alike = [change(name, T, 1 + noise(40, i) / 10) for i, name in enumerate("abc")]
    [warning] = weaknesses(rank(alike), {T: encoded(40)}, NOTHING)
    assert "cannot be told apart, nor can the first and the last" in warning
    assert "read more" not in warning
    apart = [change("d", T, noise(40, 3) / 10 - 5)]
    [warning] = weaknesses(rank(alike + apart), {T: encoded(40)}, NOTHING)
    assert "cannot be told apart, but" in warning
    assert warning.endswith("can from 'd'")


# ------------------------------------- Claims against a truth, on influences whose order is known
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
