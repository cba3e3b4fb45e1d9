import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM

from tests.command import JOB, ends_well
from tests.test_config import composed
from tests.trace_checkpoints import save
from untrac_exp.config.downloads import downloads
from untrac_exp.models import rate

ROOT = Path(__file__).parents[1]
TINY = [
    "corpora.words_per_corpus=1500", "testset.n_per_subset=4", "n_per_corpus=9",
    "pretraining.steps=5", "pretraining.checkpoint_every=2", "logger=none", "threads=1",
    f"hydra.searchpath=[file://{ROOT / 'tests' / 'conf'}]",
]  # fmt: skip


def command(outputs, *overrides):
    done = subprocess.run(
        [sys.executable, "-m", "untrac_exp", f"outputs={outputs}", *overrides],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def planned(outputs):
    [file] = outputs.rglob("plan.json")
    return json.loads(file.read_text())


def manifests(store, kind):
    return {
        folder: json.loads((folder / "manifest.json").read_text())["key"]
        for folder in (store / kind).iterdir()
        if folder.is_dir()
    }


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["harms", "tasks_a"])
def test_a_plan_counts_what_the_run_then_does(tmp_path, recipe):
    tiny = [o for o in TINY if recipe == "harms" or not o.startswith(("corpora", "testset"))]
    overrides = [f"+experiment=small_{recipe}", "seed=0", "train_seed=0", "parallel=none",
                 "truth.train_seeds=[0]", *tiny]  # fmt: skip
    text = command(tmp_path, *overrides, "plan=true")
    assert "nothing is run" in text
    before = planned(tmp_path)
    assert not (tmp_path / "store").exists()
    command(tmp_path, *overrides)

    models = {a["id"]: a for plan in before for a in plan["artifacts"] if a["kind"] == "model"}
    done = manifests(tmp_path / "store", "model")
    assert {folder.name for folder in done} == models.keys()
    for folder, key in done.items():
        artifact = models[folder.name]
        cost = json.loads((folder / "cost.json").read_text())
        assert artifact["steps"] == key["pretraining"]["steps"]
        assert artifact["steps"] == len((folder / "loss.csv").read_text().splitlines()) - 1
        assert artifact["forward"] == cost["forward_tokens"]
        assert artifact["backward"] == cost["backward_tokens"]
    assert {a["there"] for plan in before for a in plan["artifacts"]} == {False}
    for file in tmp_path.rglob("metrics.json"):
        metrics = json.loads(file.read_text())
        planned_of = [a for plan in before for a in plan["artifacts"] if a["kind"] == "scores"]
        [scores] = [a for a in planned_of if a["name"].startswith(metrics["method"] + "/")]
        forward, backward = (metrics["cost"][f"{way}_tokens"] for way in ("forward", "backward"))
        of, ragged = metrics["method"], recipe == "tasks_a"  # rows of any length
        if of.startswith("hif_") and ragged:
            assert scores["forward"] == pytest.approx(forward, rel=0.05)
            continue
        # a line search ends when it is near enough; a probe's rows have any length
        loose = {"untrac_step": 0.05, **dict.fromkeys(("untrac", "untrac_inv"), 0.005 * ragged)}
        assert scores["forward"] == pytest.approx(forward, rel=loose.get(of, 0.0), abs=0)
        assert scores["backward"] == backward

    command(tmp_path, *overrides, "plan=true")
    after = planned(tmp_path)
    assert {a["there"] for plan in after for a in plan["artifacts"]} == {True}


@pytest.mark.slow
def test_what_must_be_fetched_is_named_and_nothing_is(tmp_path):
    text = command(tmp_path, "+experiment=harms_unequal", "scale=paper", "plan=true", "logger=none")
    [plan, *_] = planned(tmp_path)
    assert not plan["exact"]
    assert plan["parameters"] == 125_239_296
    for word in ("ArmelR/the-pile-splitted@Pile-CC", "toxigen/toxigen-data", "facebook/opt-125m"):
        assert word in text
    [theta0] = [a for a in plan["artifacts"] if a["name"] == "θ0, train seed 0" and a["steps"]]
    assert theta0["steps"] == 40_000
    assert theta0["forward"] == theta0["backward"] == 40_000 * 8 * 1024
    assert theta0["size"] == 4 * 125_239_296 * 5  # the weights and four checkpoints
    [without] = [
        a for a in plan["artifacts"] if a["name"] == "without pile_cc, train seed 0" and a["steps"]
    ]
    assert without["forward"] == 40_000 * 8 * 1024
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("scale", ["mini", "paper"])
@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "experiment").glob("*.yaml")))
def test_what_is_fetched_at_mini_scale_is_nothing(file, scale):
    cfg = composed(f"+experiment={file.stem}", f"scale={scale}")
    settings = OmegaConf.to_container(cfg, resolve=True)
    someones_own = settings["model"].get("path") == "???"
    assert bool(dict(downloads(settings))) == (scale == "paper" and not someones_own)


def test_a_plan_has_the_jobs_of_the_sweep_and_leaves_nothing_else(folder):
    ended = ends_well(
        folder, JOB, "method=untrac,graddot", "seed=0,1", "plan=True", "outputs=here",
        "trainer=gpu", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "-m",
    )  # fmt: skip
    [file] = [path for path in (folder / "here").rglob("*") if path.is_file()]
    names = [
        f"{method}/trainer=gpu/seed{seed}" for method in ("untrac", "graddot") for seed in (0, 1)
    ]
    assert [plan["job"] for plan in json.loads(file.read_text())] == names
    assert file == folder / "here" / "default" / "mini" / "plan.json"
    assert ended.out.strip().startswith("plan of default at mini scale: nothing is run")


# ---------------------------------- The machine's rate, on a clock that the model itself advances
SECONDS_PER_TOKEN = 0.01


@pytest.fixture
def model(tmp_path):
    return AutoModelForCausalLM.from_pretrained(save(tmp_path / "model", "opt"))


@pytest.fixture
def clock(monkeypatch):
    """Every token forward and backward takes so long, whatever the machine."""
    now = [0.0]
    loss = rate.mean_loss

    def slow(model, batch):
        now[0] += SECONDS_PER_TOKEN * batch["input_ids"].numel()
        return loss(model, batch)

    monkeypatch.setattr(rate, "mean_loss", slow)
    monkeypatch.setattr(rate.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(rate, "_measured", {})
    return now


def test_the_rate_counts_six_flops_a_parameter_and_token(model, clock):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = 6 * sum(p.numel() for p in model.parameters()) / SECONDS_PER_TOKEN
    assert rate.model_rate(model) == pytest.approx(expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    took = clock[0]
    rate.model_rate(model)
    assert clock[0] == took  # it is measured once
