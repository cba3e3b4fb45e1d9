"""Comparing datasets at equal forgetting."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.dense import scores
from untrac_exp.methods.common.unlearn import at_rise
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.stages.unlearning import Stopping

METHODS = pytest.mark.parametrize(
    ("kind", "batch_size"), [(UnTrac, 1), (UnTracInv, 256)], ids=["untrac", "untrac_inv"]
)
RISE = 0.3


def method(kind, batch_size, lr=3e-3, **stopping):
    return kind(
        partial(torch.optim.Adam, lr=lr),
        Ascent(),
        Stopping(**{"steps": 40, **stopping}),
        batch_size,
    )


@METHODS
def test_every_dataset_is_read_at_the_same_rise_of_its_own_loss(kind, batch_size, fresh_subject):
    """Against runs that read everything after every step."""
    found = method(kind, batch_size, own_loss_rise=RISE, evaluations=2).influences(fresh_subject())
    dense = method(kind, batch_size, evaluations=10**6).influences(fresh_subject())
    assert not found.warnings
    expected = {}
    for name, own in dense.own_loss.groupby("unlearned"):
        own = own.set_index("step")["loss"] - own["loss"].iloc[0]
        last = int(own.index[own >= RISE][0])
        part = (RISE - own[last - 1]) / (own[last] - own[last - 1])
        for key, rows in dense.trajectory.groupby(["corpus", "testset", "subset"]):
            if name == (key[0] if kind is UnTrac else "/".join(key[1:])):
                at = {0: 0.0, **rows.set_index("step")["influence"]}
                expected[key] = at[last - 1] + part * (at[last] - at[last - 1])
    found = scores(found)
    assert found.keys() == expected.keys()
    scale = np.abs(list(expected.values())).max()
    for key in expected:
        assert found[key] == pytest.approx(expected[key], abs=0.01 * scale)


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
def test_a_run_that_does_not_get_there_says_so(kind, batch_size, fresh_subject):
    stopped = method(kind, batch_size, own_loss_rise=9.0, steps=5).influences(fresh_subject())
    plain = method(kind, batch_size, steps=5).influences(fresh_subject())
    assert scores(stopped) == scores(plain)
    names = stopped.own_loss["unlearned"].unique()
    [warning] = stopped.warnings
    assert warning.startswith(
        "unlearning ended before the forget-set loss had risen by 9 nats: of '"
    )
    assert warning.count("after 5 steps") == min(3, len(names))
    assert (f"and {len(names) - 3} more" in warning) == (len(names) > 3)
    assert all(f"'{name}'" in warning for name in names[:3])


@METHODS
def test_a_collapse_is_flagged(kind, batch_size, fresh_subject):
    answer = method(kind, batch_size, lr=0.1, steps=30).influences(fresh_subject())
    assert any("collapsed the model" in warning for warning in answer.warnings)


@METHODS
@pytest.mark.parametrize("rise", [None, RISE])
def test_the_own_loss_is_known_wherever_the_influence_is(kind, batch_size, rise, fresh_subject):
    answer = method(kind, batch_size, own_loss_rise=rise).influences(fresh_subject())
    for key, rows in answer.trajectory.groupby(["corpus", "testset", "subset"]):
        name = key[0] if kind is UnTrac else "/".join(key[1:])
        own = answer.own_loss[answer.own_loss["unlearned"] == name]
        assert set(rows["step"]) <= set(own["step"])
        assert own["step"].iloc[0] == 0
        assert own["step"].is_monotonic_increasing


def test_between_two_readings_the_answer_is_on_their_line():
    rises, nll = np.array([0.0, 0.2, 0.6, 0.9]), np.array([[1.0], [2.0], [6.0], [0.0]])
    assert at_rise(0.3, rises, nll) == pytest.approx([3.0])
    assert at_rise(0.2, rises, nll) == pytest.approx([2.0])
    assert at_rise(None, rises, nll) == nll[-1]
    assert at_rise(1.0, rises, nll) == nll[-1]


def test_a_loss_that_falls_first_is_read_at_its_first_crossing():
    rises, nll = np.array([0.0, -0.2, 0.4, 0.1, 0.5]), np.arange(5.0)[:, None]
    assert at_rise(0.3, rises, nll) == pytest.approx([1 + 5 / 6])
