"""Made-up outputs of every sweep that the paper's tables and figures are drawn from."""

import json
from pathlib import Path

import pytest

from tests.report.conftest import fabricate
from untrac_exp.report import result_files as files
from untrac_exp.report.collect import collect
from untrac_exp.report.sweep import write_summary

SEVEN = {
    "graddot": 0.9, "gradcos": 0.8, "hif_arnoldi": 0.7, "hif_lissa": 1.5, "tracin": 0.5,
    "untrac": 0.1, "untrac_inv": 0.3,
}  # fmt: skip
PAIR = {"untrac": 0.1, "untrac_inv": 0.3}
WORLD = "novels tales news classics forum essays web encyclopedia".split()
SIZES = dict(zip(WORLD, (32, 32, 48, 16, 16, 64, 96, 16), strict=True))
TASKS = ["sim_same", "sim_diff", "dis_same", "dis_diff"]
SENSITIVITY = {
    "sensitivity_optimizer": ("optimizer", "sgd sgd_momentum rmsprop adam adafactor"),
    "sensitivity_lr": ("optimizer.lr", "5e-06 1e-05 5e-05 0.0001 0.0005"),
    "sensitivity_epochs": ("method.batch_size", "1 256"),
    "truth_budget": ("truth.budget", "steps epochs"),
}


def config(batch_size=1, **more):
    return {
        "method": {"batch_size": batch_size},
        "n_per_corpus": 100,
        "testset": {"n_per_subset": 50},
        "max_sequences": None,
        "corpora": {"sizes": SIZES},
        **more,
    }


def scaling(outputs, name, corpora, layers, overrides):
    """A job of each method whose truth is stored, a model costing 5 s a layer."""
    model = {"config": {"num_hidden_layers": layers}}
    fabricate(
        outputs / name / "mini", methods=PAIR, corpora=corpora, testsets={"toxicity": 3},
        seeds=1, train_seeds=1, overrides=overrides, config=config(model=model),
    )  # fmt: skip
    (text,) = (f"{key}={value}" for key, value in overrides.items())
    for method in PAIR:
        jobs = outputs / name / "mini" / method / text
        with_truth(outputs, jobs, corpora, [0], 5.0 * layers, text)


def with_truth(outputs, directory, corpora, train_seeds, seconds, tag=""):
    """Store the models of a truth, and name θ0 and the truth in the metrics of the jobs below."""
    models = outputs / "store" / "model"
    key = {"corpora": [[name, "fp"] for name in corpora], "pretraining": tag}
    for seed in train_seeds:
        for without in [[], *([name] for name in corpora)]:
            folder = models / f"{abs(hash((tag, *corpora, seed, *without))):x}"
            folder.mkdir(parents=True, exist_ok=True)
            its = {**key, "train_seed": seed, "without": without}
            (folder / "manifest.json").write_text(json.dumps({"kind": "model", "key": its}))
            cost = {"wall_s": seconds, "forward_tokens": 1000, "backward_tokens": 1000}
            (folder / "cost.json").write_text(json.dumps(cost))
            if (seed, without) == (0, []):
                theta0 = folder
    for path in directory.rglob("metrics.json"):
        job = files.read_metrics(path.parent)
        target = "untrac_exp.truth.leave_dataset_out.LeaveDatasetOut"
        job["config"]["truth"] = {"_target_": target, "train_seeds": train_seeds}
        files.write_metrics(path.parent, {**job, "theta0": f"elsewhere/model/{theta0.name}"})


def make_up(outputs: Path) -> Path:
    """Fill `outputs` as `make paper` would, with invented numbers."""
    toxicity = {"toxicity": 4}
    for suite in "ab":
        fabricate(
            outputs / f"tasks_{suite}" / "mini", methods=SEVEN, corpora=TASKS,
            testsets={f"tasks_{suite}": 1}, seeds=2, config=config(),
        )  # fmt: skip
    for name in ("harms", "harms_unequal"):
        fabricate(
            outputs / name / "mini", methods=SEVEN, corpora=WORLD, seeds=1, config=config(),
            testsets={"toxicity": 3, "bias": 2, "truthfulness": 2},
        )  # fmt: skip
    for name, (key, values) in SENSITIVITY.items():
        for value in values.split():
            batch = int(value) if key.endswith("batch_size") else 1
            fabricate(
                outputs / name / "mini", methods=PAIR, corpora=WORLD, testsets=toxicity, seeds=1,
                overrides={key: value}, config=config(batch),
            )  # fmt: skip
    for objective in "ascent npo kl".split():
        fabricate(
            outputs / "objectives" / "mini", methods=PAIR, corpora=WORLD,
            testsets={"toxicity": 2, "bias": 2}, overrides={"objective": objective},
            config=config(),
        )  # fmt: skip
    for layers in (1, 2, 4, 8):
        key = "model.config.num_hidden_layers"
        scaling(outputs, "scaling_model", WORLD, layers, {key: str(layers)})
    for n in (3, 5, 8):
        scaling(outputs, "scaling_corpora", WORLD[:n], 2, {"corpora.libraries": f"hash{n}"})
    with_truth(outputs, outputs / "harms" / "mini", WORLD, [0, 1], seconds=8.0)
    for directory in outputs.glob("*/mini"):
        write_summary(collect(directory))
    return outputs


@pytest.fixture(scope="session")
def outputs(tmp_path_factory) -> Path:
    return make_up(tmp_path_factory.mktemp("made_up"))
