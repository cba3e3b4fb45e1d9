"""The truth against models trained by hand, and what it shares and keeps."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig

from tests.command import JOB, ends_well
from tests.trace_checkpoints import save
from tests.truth.conftest import make_world
from untrac_exp.methods.base import Subset
from untrac_exp.models.loss import example_losses
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut


def influences(truth, training, subsets):
    return truth.influences(truth.changes(training, subsets), list(training.corpora))


def test_it_is_the_loss_without_minus_the_loss_with(world):
    training, subsets = world
    truth = influences(LeaveDatasetOut([0]), training, subsets)
    assert len(truth) == 3 * 3
    theta0 = training.model_spec(0).load("sdpa")
    for row in truth.itertuples():
        without = training.model_spec(0, [row.corpus]).load("sdpa")
        data = subsets[Subset(row.testset, row.subset)]
        by_hand = example_losses(without, data, 99).mean - example_losses(theta0, data, 99).mean
        assert row.influence == pytest.approx(by_hand, abs=1e-6)


def test_a_text_is_owed_to_the_corpus_it_came_from(world):
    truth = influences(LeaveDatasetOut([0]), *world)
    table = truth.pivot(index="corpus", columns="subset", values="influence")
    assert (table.idxmax() == table.columns).all()
    assert table.to_numpy().diagonal().min() > 0


def test_counterfactual_models_never_see_what_is_left_out(world, monkeypatch):
    training, _ = world
    runs = []

    def pretrain(model, data, settings, *_, keep, **__):
        runs.append((settings.steps, keep))

    monkeypatch.setattr("untrac_exp.stages.training.pretrain", pretrain)
    training.model_spec(0, ["wood"]).folder()
    training.model_spec(0, ["wood"], "epochs").folder()
    sizes = [len(data) for data in training.data.values()]
    for _, keep in runs:
        kept = keep.split(sizes)
        assert [bool(part.any()) for part in kept] == [True, False, True]
        assert [bool(part.all()) for part in kept] == [True, False, True]
    assert runs[0][0] == 30
    assert runs[1][0] == round(30 * (sizes[0] + sizes[2]) / sum(sizes))


def test_nothing_left_to_train_on(world):
    training, subsets = world
    alone = replace(training, corpora={"sea": training.corpora["sea"]})
    with pytest.raises(ValueError, match="nothing is left to train on without 'sea'"):
        influences(LeaveDatasetOut([0]), alone, subsets)


@pytest.mark.parametrize("checkpoint", [False, True], ids=["scratch", "checkpoint"])
def test_with_dropout_too_the_truth_depends_on_its_seeds_alone(tmp_path, checkpoint):
    truths = []
    for i in range(2):
        world = make_world(tmp_path / f"store{i}", 0.1, checkpoint)
        torch.manual_seed(i)  # whatever has drawn random numbers before
        truths.append(influences(LeaveDatasetOut([0, 1]), *world))
    assert truths[0].equals(truths[1])
    with_seed = truths[0].groupby("train_seed")["influence"].apply(list)
    assert with_seed[0] != with_seed[1]


@pytest.mark.slow
def test_a_checkpoint_with_dropout_has_one_truth(folder):
    """Of fresh stores, with one process and with two workers, from the command line."""
    save(folder / "t5", "t5")
    assert AutoConfig.from_pretrained(folder / "t5").dropout_rate == 0.1
    job = JOB | {
        "model": "hf", "model.path": "t5", "model.block_size": "16", "pretraining.steps": "6",
        "truth": "leave_dataset_out", "truth.train_seeds": "[0]", "parallel": "local",
    }  # fmt: skip
    found = []
    for workers in ("1", "2"):
        changes = {"parallel.workers": workers, "outputs": workers}
        ends_well(folder, job | changes, "~model.vocab_size", "~model.config")
        [path] = (folder / workers).rglob("truth.csv")
        found.append(path.read_bytes())
    assert found[0] == found[1]


def test_each_model_is_trained_once_and_losses_outlive_it(world, monkeypatch):
    training, subsets = world
    first = influences(LeaveDatasetOut([0, 1]), training, subsets)

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("untrac_exp.stages.training.pretrain", never)
    again = influences(LeaveDatasetOut([0, 1]), training, subsets)
    assert first.equals(again)
