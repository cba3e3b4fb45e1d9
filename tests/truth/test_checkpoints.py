"""A truth of given checkpoints: the same as of models trained here, and what it refuses."""

import json
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.command import JOB, command, overrides, write_texts
from tests.test_config import composed
from tests.trace_checkpoints import save
from untrac_exp.config.schema import config_dir
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


def test_the_command_line_writes_the_same_truth(tmp_path):
    """Of a job that trains, and of one whose θ0 is a checkpoint (pretraining.steps=0)."""
    write_texts(tmp_path)
    trains = {"outputs": "trained", "truth": "leave_dataset_out", "truth.train_seeds": "[0,1]"}
    ended = command(overrides({**JOB, **trains}), tmp_path)
    assert ended.status == 0, ended.err
    store = tmp_path / "trained" / "store"
    [tokenizer] = {path.parent for path in store.glob("tokenizer/*/tokenizer.json")}
    models = {}
    for manifest in store.glob("model/*/manifest.json"):
        key, path = json.loads(manifest.read_text())["key"], manifest.parent / "model"
        AutoTokenizer.from_pretrained(tokenizer).save_pretrained(path)
        models[key["train_seed"], ", ".join(key["without"])] = path
    entries = [
        f"{{path: {path}, without: [{without}], train_seed: {seed}}}"
        for (seed, without), path in sorted(models.items())
    ]
    given = JOB | {
        "outputs": "given", "model": "hf", "model.path": str(models[0, ""]),
        "model.block_size": "16", "pretraining.steps": "0", "truth": "checkpoints",
        "truth.checkpoints": f"[{', '.join(entries)}]",
    }  # fmt: skip
    settings = [*overrides(given), "~model.vocab_size", "~model.config"]
    ended = command([*settings, "plan=true"], tmp_path)
    assert ended.status == 0, ended.err
    plan = json.loads(next((tmp_path / "given").rglob("plan.json")).read_text())
    kinds = [artifact["kind"] for artifact in plan[0]["artifacts"]]
    assert kinds == ["losses"] * 6 + ["scores"]
    ended = command(settings, tmp_path)
    assert ended.status == 0, ended.err
    files = [next((tmp_path / name).rglob("truth.csv")) for name in ("trained", "given")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("preset", "seeds", "sets"), [("datadecide", 3, 4), ("deep_ignorance", 1, 2)]
)
def test_presets_are_planned_without_a_network(tmp_path, preset, seeds, sets):
    write_texts(tmp_path)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        truth = instantiate(compose("config", [f"truth={preset}"]).truth)
    corpora = sorted({name for _, without in truth._given for name in without})
    assert len(truth.train_seeds) == seeds
    assert len(truth.left_out(corpora)) == sets
    theta0 = truth._given[truth.train_seeds[0], frozenset()]
    for i, name in enumerate(corpora):
        (tmp_path / f"{i}.txt").write_text(f"a text about {name}\n\n" * 9)
    paths = ", ".join(f"{name}: {i}.txt" for i, name in enumerate(corpora))
    ended = command(
        [
            "+experiment=trace", f"truth={preset}", "method=ngram", f"model.path={theta0.path}",
            f"model.revision={theta0.revision}", "hydra.mode=RUN", f"corpora.paths={{{paths}}}",
            "testset.paths={t: t.txt}", "plan=true", "plan_flops_per_s=1e12",
        ],
        tmp_path, env={"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert ended.status == 0, ended.err
    [plan] = json.loads(next(tmp_path.rglob("plan.json")).read_text())
    assert sum(of["kind"] == "losses" for of in plan["artifacts"]) == seeds * (1 + sets)
    assert sum(of["kind"] == "model" for of in plan["artifacts"]) == 0
    assert theta0.path in plan["downloads"].values()
