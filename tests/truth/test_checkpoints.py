"""A truth of given checkpoints: the same as of models trained here, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate
from transformers import AutoConfig, AutoModelForCausalLM

from tests.test_config import composed
from tests.trace_checkpoints import save
from untrac_exp.models.loss import example_losses
from untrac_exp.models.pretrained import Pretrained
from untrac_exp.statistics.agreement import agreement, truth_mean
from untrac_exp.truth.checkpoints import Checkpoints
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut
from untrac_exp.truth.random_subsets import RandomSubsets


def handed_over(training, truth, folder):
    """Save the models of a truth as the hub has them: sharded, with configuration and tokenizer."""
    checkpoints = []
    for seed, without in truth.models(list(training.corpora)):
        path = folder / f"{seed}-{'-'.join(without)}"
        model = training.model_spec(seed, without).load("sdpa")
        model.save_pretrained(path, max_shard_size="8KB")
        training.tokenizer.save_pretrained(path)
        assert len(list(path.glob("model-*-of-*.safetensors"))) > 1
        checkpoints.append({"path": str(path), "without": list(without), "train_seed": seed})
    return checkpoints


def untrained(training, checkpoints):
    """The training of a job that takes the first of these as θ0."""
    return replace(
        training,
        source=Pretrained(checkpoints[0]["path"], block_size=16),
        settings=replace(training.settings, steps=0),
        settings_key={"steps": 0},
    )


@pytest.mark.parametrize(
    "truth", [LeaveDatasetOut([0, 1]), RandomSubsets([0, 1], subsets=3, fraction=0.3)]
)
def test_our_models_handed_over_give_the_same_truth(world, tmp_path, truth):
    training, subsets = world
    checkpoints = handed_over(training, truth, tmp_path)
    given, job = Checkpoints(checkpoints=checkpoints), untrained(training, checkpoints)
    ours, theirs = (
        each.influences(each.changes(of, subsets), list(training.corpora))
        for each, of in ((truth, training), (given, job))
    )
    assert ours.equals(theirs)
    assert given.over == truth.over


def test_olmo_checkpoints_give_the_change_of_their_losses(world, tmp_path):
    """Of nested sets of corpora, as of DataDecide, in folders with an OLMo configuration."""
    training, subsets = world
    config = AutoConfig.for_model(
        "olmo", vocab_size=len(training.tokenizer), hidden_size=16, intermediate_size=32,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=16, pad_token_id=0,
        eos_token_id=1,
    )  # fmt: skip
    checkpoints = []
    for i, without in enumerate([[], ["sea"], ["wood", "sea"], ["town"]]):
        torch.manual_seed(i)
        path = tmp_path / f"olmo{i}"
        AutoModelForCausalLM.from_config(config).save_pretrained(path, max_shard_size="8KB")
        training.tokenizer.save_pretrained(path)
        checkpoints.append({"path": str(path), "without": without})
    job, truth = untrained(training, checkpoints), Checkpoints(checkpoints=checkpoints)
    changes = truth.changes(job, subsets)
    assert truth.left_out(list(training.corpora)) == [("sea",), ("sea", "wood"), ("town",)]
    assert "LDS" in truth.over
    models = [AutoModelForCausalLM.from_pretrained(of["path"]) for of in checkpoints]
    assert type(models[0]).__name__ == "OlmoForCausalLM"
    for name, data in subsets.items():
        losses = [example_losses(model.eval(), data, 99).mean for model in models]
        rows = changes[changes["subset"] == name.subset].set_index("without")["influence"]
        assert rows["sea", "wood"] == pytest.approx(losses[2] - losses[0], abs=1e-6)
        assert rows[("town",)] == pytest.approx(losses[3] - losses[0], abs=1e-6)
    influences = truth.influences(changes, list(training.corpora))
    predicted, actual = truth.compared(influences, changes)
    [found] = agreement(predicted, truth_mean(actual)).values()
    assert found["n_corpora"] == 3
    assert found["spearman"] == pytest.approx(1.0)


WRONG = {
    "another tokenizer": ([{"path": "t5"}, {"path": "t5", "without": ["sea"]}], "tokenizer"),
    "no θ0": ([{"path": "a", "without": ["sea"]}], "train seed 0 has no model with all corpora"),
    "a seed without a model": (
        [{"path": "a"}, {"path": "b", "without": ["sea"]}, {"path": "c", "train_seed": 1}],
        r"train seed 1 has no model without \['sea'\]",
    ),
    "twice": ([{"path": "a"}, {"path": "b"}], "a model twice"),
    "another key": ([{"folder": "a"}], "unexpected keyword argument 'folder'"),
    "another corpus": ([{"path": "a"}, {"path": "b", "without": ["see"]}], "did you mean sea"),
    "nothing": ([], "train_seeds is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_checkpoints(world, tmp_path, case):
    training, subsets = world
    checkpoints, message = WRONG[case]
    if case == "another tokenizer":
        save(tmp_path / "opt", "opt")
        checkpoints = [{**of, "path": str(tmp_path / "opt")} for of in checkpoints]
    with pytest.raises(ValueError, match=message):
        Checkpoints(checkpoints=checkpoints).changes(training, subsets)


@pytest.mark.parametrize(
    ("preset", "seeds", "sets"), [("datadecide", 3, 4), ("deep_ignorance", 1, 2)]
)
def test_presets_have_their_models(preset, seeds, sets):
    truth = instantiate(composed(f"truth={preset}").truth)
    corpora = sorted({name for _, without in truth._given for name in without})
    assert len(truth.train_seeds) == seeds
    assert len(truth.left_out(corpora)) == sets
    assert all((seed, frozenset()) in truth._given for seed in truth.train_seeds)
