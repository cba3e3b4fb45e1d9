"""Schedules against closed forms and transformers' own, and the rates a run is taken with."""

import math

import pytest
import torch
import transformers
import yaml
from hydra.utils import instantiate

from tests.command import JOB, overrides
from tests.test_config import composed
from untrac_exp.config.schema import config_dir
from untrac_exp.job import load, make_subject
from untrac_exp.runtime.cost import Meter
from untrac_exp.stages.schedule import Schedule
from untrac_exp.stages.trainer import quiet
from untrac_exp.store import Store

TOTAL, WARMUP, DECAY = 20, 4, 5
FORMS = {
    "constant": lambda t: 1.0,
    "linear": lambda t: 0.1 + 0.9 * (TOTAL - t) / (TOTAL - WARMUP),
    "cosine": lambda t: 0.55 + 0.45 * math.cos(math.pi * (t - WARMUP) / (TOTAL - WARMUP)),
    "wsd": lambda t: min(1.0, 0.1 + 0.9 * (TOTAL - t) / DECAY),
}


def configured(name, **changes):
    node = yaml.safe_load((config_dir() / "schedule" / f"{name}.yaml").read_text())
    return instantiate({**node, **changes})


def test_every_file_has_a_closed_form_here():
    assert set(FORMS) == {file.stem for file in (config_dir() / "schedule").glob("*.yaml")}


@pytest.mark.parametrize("name", FORMS)
def test_the_closed_form(name):
    changes = {
        "constant": {}, "linear": {"final": 0.1}, "cosine": {"final": 0.1},
        "wsd": {"final": 0.1, "decay_steps": DECAY},
    }[name]  # fmt: skip
    schedule = configured(name, warmup_steps=WARMUP, **changes)
    found = [schedule(t, TOTAL) for t in range(TOTAL + 1)]
    assert found[:WARMUP] == [0.25, 0.5, 0.75, 1.0]
    assert found[WARMUP:] == pytest.approx([FORMS[name](t) for t in range(WARMUP, TOTAL + 1)])


@pytest.mark.parametrize("name", FORMS)
def test_it_is_the_one_of_transformers(name):
    """Which warms up from 0, so that its first step does nothing: it is one step later there."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = {
        "constant": lambda: transformers.get_constant_schedule_with_warmup(optimizer, WARMUP),
        "linear": lambda: transformers.get_linear_schedule_with_warmup(optimizer, WARMUP, TOTAL),
        "cosine": lambda: transformers.get_cosine_schedule_with_warmup(optimizer, WARMUP, TOTAL),
        "wsd": lambda: transformers.get_wsd_schedule(
            optimizer, WARMUP, DECAY, num_training_steps=TOTAL, decay_type="linear"
        ),
    }[name]().lr_lambdas[0]
    changes = {"decay_steps": DECAY} if name == "wsd" else {}
    schedule = configured(name, warmup_steps=WARMUP, **changes)
    for t in range(TOTAL + 1):
        assert schedule(t, TOTAL) == pytest.approx(theirs(t + (t < WARMUP)))


def test_a_fraction_of_the_steps_follows_the_run():
    schedule = Schedule(warmup_steps=0.25, decay_steps=0.5)
    for total in (8, 80):
        assert [schedule(t, total) for t in range(total)] == [
            Schedule(total // 4, total // 2)(t, total) for t in range(total)
        ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"warmup_steps": -1}, r"schedule\.warmup_steps=-1 must be a whole number"),
        ({"warmup_steps": 2.5}, r"schedule\.warmup_steps=2\.5 must be a whole number"),
        ({"decay_steps": 1.5}, r"schedule\.decay_steps=1\.5 must be a whole number"),
        ({"final": 2.0}, r"schedule\.final=2\.0 must be from 0 to 1"),
    ],
)
def test_what_is_no_schedule_is_named(settings, says):
    with pytest.raises(ValueError, match=says):
        Schedule(**settings)


def test_one_longer_than_the_run_is_named():
    with pytest.raises(ValueError, match=r"schedule\.warmup_steps=21 is longer than a run of 20"):
        Schedule(21)(0, 20)
    with pytest.raises(
        ValueError, match=r"schedule\.decay_steps=15 and a warm-up of 6 steps are l"
    ):
        Schedule(6, 15)(0, 20)
    assert Schedule(20, None)(19, 20) == Schedule(5, 15)(4, 20) == 1.0


@pytest.fixture
def job(folder, monkeypatch):
    """The configuration of a job of eight steps in a folder of its own."""
    monkeypatch.chdir(folder)
    quiet()

    def make(*changes):
        return composed(*overrides(JOB), "pretraining.steps=8", *changes)

    return make


def test_the_schedule_is_in_the_models_key(job):
    ids = set()
    for change in ("constant", "linear", "cosine", "wsd"):
        training = load(job(f"schedule={change}"), Store("store")).training
        ids |= {training.model_spec(0).id, training.model_spec(0, "a").id}
    ids.add(load(job("schedule.final=0.1"), Store("store")).training.model_spec(0).id)
    assert len(ids) == 9


def test_a_counterfactual_model_of_fewer_steps_decays_over_its_own(job, monkeypatch):
    training = load(job("schedule.warmup_steps=7"), Store("store")).training
    kept = [len(training.data[name]) for name in ("a", "b")]
    steps = round(8 * kept[1] / sum(kept))
    with pytest.raises(ValueError, match=rf"warmup_steps=7 is longer than a run of {steps} steps"):
        training.model_spec(0, "a", "epochs")
    training = load(job("schedule.warmup_steps=2"), Store("store")).training
    runs = []
    monkeypatch.setattr(
        "untrac_exp.stages.training.pretrain",
        lambda _, __, settings, *___, **____: runs.append(settings),
    )
    training.model_spec(0, "a", "epochs").folder()
    [run] = runs
    assert run.steps == steps
    assert run.schedule(steps, run.steps) == 0


def test_tracin_weighs_a_checkpoint_by_the_rates_since_the_one_before(job):
    settings = ("schedule.warmup_steps=4", "pretraining.checkpoint_every=2")
    cfg = job(*settings, "pretraining.optimizer.lr=0.1")
    data = load(cfg, Store("store"))
    subject = make_subject(cfg, data, data.training.model_spec(0), Meter())
    rates = {int(checkpoint.path.stem): checkpoint.rates for checkpoint in subject.checkpoints}
    sums = {2: 0.25 + 0.5, 4: 0.75 + 1, 6: 1 + 0.75, 8: 0.5 + 0.25}
    assert rates == {step: pytest.approx(0.1 * total) for step, total in sums.items()}
