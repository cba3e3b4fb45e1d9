"""Unlearning against a bare loop, and when it is read and stopped."""

import copy
from functools import partial
from itertools import islice, pairwise

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from tests.conftest import CPU, sequences
from untrac_exp.data.order import batches
from untrac_exp.models.loss import mean_loss
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.stages.unlearning import Stopping, unlearn


def run(model, data, *, stop_at=None, optimizer=None, **settings):
    """The weights (P,) after unlearning, and the steps that were observed."""
    model = copy.deepcopy(model)
    seen = []

    def observe(step):
        seen.append(step)
        return step == stop_at

    unlearn(
        model, data, negative_loss, seed=3, trainer=CPU, observe=observe,
        optimizer=optimizer or partial(torch.optim.Adam, lr=0.01),
        **{
            "batch_size": 2, "max_tokens": 999, "stopping": Stopping(steps=7, evaluations=3),
            **settings,
        },
    )  # fmt: skip
    return parameters_to_vector(model.parameters()).detach(), seen


@pytest.mark.parametrize("batch_size", [1, 3, 99])
def test_it_is_the_bare_loop(trained, batch_size):
    data = sequences(1, 3, 5, ragged=True)
    found, _ = run(trained[0], data, batch_size=batch_size)
    model = copy.deepcopy(trained[0])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for indices in islice(batches(5, batch_size, seed=3), 7):
        optimizer.zero_grad()
        (-mean_loss(model, data.batch(indices))).backward()
        optimizer.step()
    expected = parameters_to_vector(model.parameters()).detach()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("max_tokens", [8, 16, 24])
def test_shares_take_the_steps_of_the_whole_batch(trained, max_tokens):
    data = sequences(1, 3, 5, ragged=True)
    whole, seen = run(trained[0], data, batch_size=5)
    parts, seen_too = run(trained[0], data, batch_size=5, max_tokens=max_tokens)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-7)
    assert seen == seen_too == [1, 3, 7]


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 15), (2, 8), (99, 3)])
def test_epochs_are_steps_over_the_dataset(trained, batch_size, steps):
    stopping = Stopping(epochs=3, evaluations=1)
    _, seen = run(trained[0], sequences(1, 3, 5), batch_size=batch_size, stopping=stopping)
    assert seen == [steps]


def test_it_ends_where_the_observer_says_so(trained):
    data = sequences(1, 3, 5)
    stopped, seen = run(trained[0], data, stop_at=3)
    assert seen == [1, 3]
    short, _ = run(trained[0], data, stopping=Stopping(steps=3))
    assert torch.equal(stopped, short)


def test_a_short_run_is_the_beginning_of_a_long_one(trained):
    data = sequences(1, 3, 5)
    first, _ = run(trained[0], data, stopping=Stopping(steps=4))
    again, _ = run(trained[0], data, stopping=Stopping(steps=9, evaluations=9), stop_at=4)
    assert torch.equal(first, again)


@pytest.mark.parametrize("limit", [1, 2, 7, 100, 12345])
def test_the_own_loss_is_read_often_enough(limit):
    stopping = Stopping(steps=limit, own_loss_rise=0.5, evaluations=4)
    readings = stopping.readings(limit)
    assert readings[0] == 1
    assert readings[-1] == limit
    assert set(stopping.schedule(limit)) <= set(readings)
    for before, after in pairwise(readings):
        assert before < after <= max(before + 1, 1.25 * before)
    assert Stopping(steps=limit, evaluations=4).readings(limit) == stopping.schedule(limit)


def test_the_schedule_ends_at_the_limit():
    assert Stopping(steps=100, evaluations=1).schedule(100) == [100]
    assert Stopping(steps=100, evaluations=3).schedule(100) == [1, 10, 100]
    assert Stopping(steps=3, evaluations=50).schedule(3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either steps or epochs"),
        ({"steps": 1, "epochs": 1}, "either steps or epochs"),
        ({"steps": 0}, r"stopping\.steps=0 must be positive"),
        ({"epochs": -1}, r"stopping\.epochs=-1 must be positive"),
        ({"steps": 1, "own_loss_rise": 0}, r"stopping\.own_loss_rise=0 must be positive"),
        ({"steps": 1, "evaluations": 0}, r"stopping\.evaluations=0 must be at least 1"),
        ({"steps": 1, "probe": 0}, r"stopping\.probe=0 must be at least 1"),
    ],
)
def test_senseless_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Stopping(**settings)
