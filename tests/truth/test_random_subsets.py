"""Random subsets against an additive world, and what models they ask for."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.command import JOB, ends_well
from tests.truth.test_leave_dataset_out import influences
from untrac_exp.methods.base import Subset
from untrac_exp.models.loss import example_losses
from untrac_exp.statistics.agreement import agreement, noise_ceiling, truth_mean
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut
from untrac_exp.truth.random_subsets import RandomSubsets

CORPORA = [f"corpus {i}" for i in range(8)]
TESTS = [("t", "a"), ("t", "b"), ("u", "all")]


def additive(truth, noise=0.0):
    """Changes in a world where corpora do not interact; what each does to each test subset."""
    rng = np.random.default_rng(0)
    does = {(name, *test): rng.normal() for name in CORPORA for test in TESTS}
    rows = [
        (seed, without, *test, sum(does[name, *test] for name in without) + noise * rng.normal())
        for seed in truth.train_seeds
        for without in truth.left_out(CORPORA)
        for test in TESTS
    ]
    columns = ["train_seed", "without", "testset", "subset", "influence"]
    scores = [(*key, value) for key, value in does.items()]
    return (
        pd.DataFrame(rows, columns=columns),
        pd.DataFrame(scores, columns=["corpus", "testset", "subset", "influence"]),
    )


def score(truth, scores, changes):
    predicted, actual = truth.compared(scores, changes)
    return agreement(predicted, truth_mean(actual))


def test_the_right_influences_of_an_additive_world_have_an_lds_of_1():
    truth = RandomSubsets([0, 1])
    changes, right = additive(truth)
    found = score(truth, right, changes)
    assert [found[name]["spearman"] for name in "tu"] == pytest.approx([1.0, 1.0])
    assert [found[name]["pearson"] for name in "tu"] == pytest.approx([1.0, 1.0])
    assert found["t"]["n_corpora"] == 16  # models, here
    wrong = right.assign(influence=-right["influence"])
    assert score(truth, wrong, changes)["t"]["spearman"] == pytest.approx(-1.0)


def test_the_lds_is_spearman_over_models_averaged_over_test_subsets():
    """Written out anew, for scores that are partly right."""
    truth = RandomSubsets([0, 1, 2], subsets=12)
    changes, right = additive(truth, noise=1.0)
    rng = np.random.default_rng(1)
    scores = right.assign(influence=right["influence"] + rng.normal(size=len(right)))
    value = scores.set_index(["corpus", "testset", "subset"])["influence"]
    expected = []
    for test in TESTS[:2]:
        mine = changes[(changes["testset"] == test[0]) & (changes["subset"] == test[1])]
        actual = mine.groupby("without", sort=False)["influence"].mean()
        predicted = [sum(value[name, *test] for name in without) for without in actual.index]
        expected.append(stats.spearmanr(predicted, actual.to_numpy()).statistic)
    found = score(truth, scores, changes)["t"]["spearman"]
    assert 0.1 < found < 0.99
    assert found == pytest.approx(np.mean(expected), rel=1e-12)


def test_its_ceiling_is_the_lds_of_one_train_seed_with_another():
    truth = RandomSubsets([0, 1], subsets=12)
    changes, right = additive(truth, noise=1.0)
    _, actual = truth.compared(right, changes)
    pairs = [
        changes[(changes["testset"] == "u") & (changes["train_seed"] == seed)]["influence"]
        for seed in (0, 1)
    ]
    expected = stats.spearmanr(*pairs).statistic
    assert noise_ceiling(actual)["spearman"]["u"] == pytest.approx(expected, rel=1e-12)


def test_of_single_corpora_it_shows_what_an_additive_world_does():
    truth = RandomSubsets([0, 1])
    changes, right = additive(truth)
    found = truth_mean(truth.influences(changes, CORPORA))
    merged = found.merge(right, on=["corpus", "testset", "subset"])
    assert len(merged) == len(right)
    assert merged["influence_x"].to_numpy() == pytest.approx(merged["influence_y"].to_numpy())


@pytest.mark.parametrize(("n", "subsets", "fraction"), [(8, 16, 0.5), (10, 32, 0.5), (5, 8, 0.6),
                                                        (6, 9, 0.75), (3, 3, 0.5)])  # fmt: skip
def test_every_corpus_is_left_out_as_often(n, subsets, fraction):
    truth = RandomSubsets([0], subsets=subsets, fraction=fraction)
    drawn = truth.left_out(CORPORA[:n] if n <= 8 else [str(i) for i in range(n)])
    counts = {name: sum(name in one for one in drawn) for one in drawn for name in one}
    assert len(counts) == n
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({frozenset(one) for one in drawn}) == subsets
    assert {len(one) for one in drawn} == {n - round(fraction * n)}


def test_the_draw_is_set_by_its_seed_and_is_random():
    def draw(seed):
        return RandomSubsets([0], seed=seed).left_out(CORPORA)

    assert draw(0) == draw(0) != draw(1)
    pairs = {pair: 0 for pair in combinations(CORPORA, 2)}
    for seed in range(100):
        for one in draw(seed):
            for pair in combinations(one, 2):
                pairs[pair] += 1
    expected = 100 * 16 * 6 / 28  # two of four of eight, no two of them bound to each other
    assert all(abs(count / expected - 1) < 0.25 for count in pairs.values())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"subsets": 71}, r"truth\.subsets=71: 8 corpora have only 70"),
        ({"subsets": 1}, r"truth\.subsets=1 must be at least 2"),
        ({"fraction": 1.0}, r"truth\.fraction=1\.0 must lie between"),
        ({"budget": "days"}, r"truth\.budget='days' is unknown"),
    ],
)
def test_nonsense_is_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        RandomSubsets([0], **settings).left_out(CORPORA)


def test_a_sweep_counts_trains_and_reports_it(folder):
    """From the plan to the page; the LDS of summary.csv is that of the files it is made of."""
    (folder / "c.txt").write_text("ships and lanterns came to the hills of the miller\n\n" * 12)
    (folder / "d.txt").write_text("the cold wind sold the old red ships to no one\n\n" * 12)
    sweep = {
        **JOB, "corpora.paths": "{a: a.txt, b: b.txt, c: c.txt, d: d.txt}",
        "truth": "random_subsets", "truth.subsets": "6", "pretraining.steps": "12",
    }  # fmt: skip
    ends_well(folder, sweep, "plan=true")
    [file] = folder.rglob("plan.json")
    models = [one for one in json.loads(file.read_text())[0]["artifacts"] if one["kind"] == "model"]
    ended = ends_well(folder, sweep, "hydra.mode=MULTIRUN")
    made = list(folder.glob("outputs/store/model/*/manifest.json"))
    assert len(models) == len(made) == 2 * (1 + 6)  # two train seeds

    [scores], [changes] = (list(folder.rglob(f"{name}.csv")) for name in ("scores", "models"))
    influence = pd.read_csv(scores).set_index("corpus")["influence"]
    actual = pd.read_csv(changes).groupby("without")["influence"].mean()
    predicted = [influence[json.loads(without)].sum() for without in actual.index]
    [summary] = [pd.read_csv(path) for path in folder.rglob("summary.csv")]
    lds = stats.spearmanr(predicted, actual.to_numpy()).statistic
    assert summary["spearman_mean"].item() == pytest.approx(lds, abs=1e-9)
    assert pd.notna(summary["ceiling"].item())
    for shown in (ended.out, next(folder.rglob("report.html")).read_text()):
        assert "over models of random subsets (Spearman: LDS)" in " ".join(shown.split())


def test_a_change_is_the_loss_without_minus_the_loss_with(world):
    training, subsets = world
    truth = RandomSubsets([0], subsets=3, fraction=0.6)  # one of three is left out
    changes = truth.changes(training, subsets)
    assert len(changes) == 3 * 3
    theta0 = training.model_spec(0).load("sdpa")
    row = changes.iloc[0]
    without = training.model_spec(0, row["without"]).load("sdpa")
    data = subsets[Subset(row["testset"], row["subset"])]
    by_hand = example_losses(without, data, 99).mean - example_losses(theta0, data, 99).mean
    assert row["influence"] == pytest.approx(by_hand, abs=1e-6)


def test_models_without_one_corpus_are_those_of_leave_dataset_out(world, monkeypatch):
    """Neither truth trains again what the other has left."""
    training, subsets = world
    first = influences(LeaveDatasetOut([0]), training, subsets)
    monkeypatch.setattr(
        "untrac_exp.stages.training.pretrain", lambda *_, **__: pytest.fail("trained again")
    )
    changes = RandomSubsets([0], subsets=3, fraction=0.6).changes(training, subsets)
    ours = changes.assign(corpus=[name for (name,) in changes["without"]])
    key = ["corpus", "testset", "subset"]
    pd.testing.assert_series_equal(
        ours.set_index(key)["influence"].sort_index(),
        first.set_index(key)["influence"].sort_index(),
    )
