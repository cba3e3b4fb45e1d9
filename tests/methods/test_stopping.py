"""The loss of what is unlearned: where it is known, and when a run is warned of."""

from functools import partial

import pytest
import torch

from untrac_exp.methods.untrac import UnTrac
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.stages.unlearning import Stopping

METHODS = pytest.mark.parametrize(
    ("kind", "batch_size"), [(UnTrac, 1), (UnTracInv, 256)], ids=["untrac", "untrac_inv"]
)


def method(kind, batch_size, lr=3e-3, **stopping):
    adam = partial(torch.optim.Adam, lr=lr)
    return kind(adam, Ascent(), Stopping(**{"steps": 40, **stopping}), batch_size)


@pytest.mark.parametrize("probe", [2, 10**6])
def test_the_own_loss_is_that_of_a_probe_of_the_size_asked_for(probe, fresh_subject):
    subject = fresh_subject()
    answer = method(UnTrac, 1, steps=1, evaluations=1, probe=probe).influences(subject)
    start = answer.own_loss[answer.own_loss["step"] == 0].set_index("unlearned")["loss"]
    for name, data in subject.corpora.items():
        assert len(data) > 2
        drawn = data.sample(2, seed=0) if probe == 2 else data
        assert start[name] == pytest.approx(subject.losses(drawn).mean, rel=1e-6)


@METHODS
def test_a_collapse_is_flagged(kind, batch_size, fresh_subject):
    answer = method(kind, batch_size, lr=0.1, steps=30).influences(fresh_subject())
    assert any("collapsed the model" in warning for warning in answer.warnings)


@METHODS
def test_the_own_loss_is_known_wherever_the_influence_is(kind, batch_size, fresh_subject):
    answer = method(kind, batch_size).influences(fresh_subject())
    for key, rows in answer.trajectory.groupby(["corpus", "testset", "subset"]):
        name = key[0] if kind is UnTrac else "/".join(key[1:])
        own = answer.own_loss[answer.own_loss["unlearned"] == name]
        assert set(rows["step"]) <= set(own["step"])
        assert own["step"].iloc[0] == 0
        assert own["step"].is_monotonic_increasing
