"""The truths that ship with the package: given for what they are of, refused for all else."""

from dataclasses import replace

import pandas as pd
import pytest
from hydra.utils import instantiate

from experiments.truth import write
from tests.test_config import composed
from tests.truth.conftest import TEXTS
from untrac_exp.job import load
from untrac_exp.methods.base import Subset
from untrac_exp.store import Store
from untrac_exp.truth import stored
from untrac_exp.truth.stored import Stored

OTHER = "for other corpora, or a model trained differently; use truth=leave_dataset_out"


@pytest.fixture
def kept(world, tmp_path, monkeypatch):
    """The world, and its truth of two train seeds as it ships."""
    training, subsets = world
    table = pd.DataFrame(
        [
            (seed, corpus, *subset, seed + i / 8 - j / 64)
            for seed in (0, 1)
            for i, corpus in enumerate(TEXTS)
            for j, subset in enumerate(subsets)
        ],
        columns=["train_seed", "corpus", "testset", "subset", "influence"],
    )
    write(tmp_path / "mine_truth.csv", table, training, subsets)
    monkeypatch.setattr(stored, "TEXTS", tmp_path)
    return training, subsets, table


def test_it_has_the_rows_that_are_asked_for(kept):
    training, subsets, table = kept
    for seeds, names in (([0, 1], ["sea", "wood", "town"]), ([1], ["wood"])):
        asked = {subset: data for subset, data in subsets.items() if subset.subset in names}
        truth = Stored(seeds, name="mine")
        assert truth.jobs(training, asked) == []
        changes = truth.changes(training, asked)
        found = truth.influences(changes, list(TEXTS))[list(table.columns)]
        right = table[table["train_seed"].isin(seeds) & table["subset"].isin(names)]
        order = ["train_seed", "corpus", "subset"]
        pd.testing.assert_frame_equal(
            found.sort_values(order, ignore_index=True), right.sort_values(order, ignore_index=True)
        )


def longer(training):
    return replace(training, settings_key={**training.settings_key, "steps": 31})


def without_sea(training):
    return replace(training, corpora={k: v for k, v in training.corpora.items() if k != "sea"})


@pytest.mark.parametrize("other", [longer, without_sea])
def test_another_training_is_refused(kept, other):
    training, subsets, _ = kept
    with pytest.raises(ValueError, match=f"^truth: the stored truth of 'mine' is {OTHER}$"):
        Stored([0], name="mine").changes(other(training), subsets)


def test_checkpoints_kept_more_often_are_no_other_training(kept):
    training, subsets, _ = kept
    often = replace(training, settings_key={**training.settings_key, "checkpoint_every": 5})
    assert len(Stored([0], name="mine").changes(often, subsets)) == 9


def test_what_it_lacks_is_one_line(kept):
    training, subsets, _ = kept
    with pytest.raises(ValueError, match=r"^truth\.train_seeds: .* no train seed 2; .*\[0, 1\]$"):
        Stored([0, 2], name="mine").changes(training, subsets)
    sea = subsets[Subset("t", "sea")]
    with pytest.raises(ValueError, match=r"has no test set 't', subset 'lake'; use truth=leave_"):
        Stored([0], name="mine").changes(training, {**subsets, Subset("t", "lake"): sea})
    with pytest.raises(ValueError, match=r"other texts than those of test set 't', subset 'wood'"):
        Stored([0], name="mine").changes(training, {**subsets, Subset("t", "wood"): sea})
    with pytest.raises(
        ValueError, match=r"^truth\.name='yours' has no stored truth; use truth=leave_dataset_out$"
    ):
        Stored([0], name="yours").changes(training, subsets)


@pytest.mark.slow
@pytest.mark.parametrize(("world", "models"), [("natural", 3 * 10), ("natural_tuning", 2 * 8)])
def test_what_ships_is_of_its_experiment(world, models, tmp_path):
    chosen = [f"{group}={world}" for group in ("corpora", "testset", "truth")]
    cfg = composed("+experiment=natural", *chosen, f"store={tmp_path}", "threads=1")
    data = load(cfg, Store(cfg.store))
    truth = instantiate(cfg.truth)
    assert isinstance(truth, Stored)
    changes = truth.changes(data.training, data.subsets)
    cells = changes[["train_seed", "without", "testset", "subset"]]
    assert len(cells.drop_duplicates()) == len(changes) == models * len(data.subsets)
    assert set(changes["without"]) == {(name,) for name in data.training.corpora}
