"""Unlearning against a bare loop, and when it is evaluated and stopped."""

import copy
import gc
import shutil
import weakref
from dataclasses import replace
from functools import partial
from itertools import islice

import lightning
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from tests.conftest import CPU, opt, sequences
from untrac_exp.data.order import batches
from untrac_exp.models.loss import mean_loss
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.stages.trainer import quiet
from untrac_exp.stages.unlearning import ScheduledEvaluations, Stopping, Unlearning, unlearn

ADAM = partial(torch.optim.Adam, lr=0.01)


def flat(model):
    return parameters_to_vector(model.parameters()).detach()


def unlearned(model, data, **settings):
    """The weights (P,) after unlearning."""
    model = copy.deepcopy(model)
    run = {"steps": 7, "max_tokens": 999, "trainer": CPU}
    run |= {name: settings.pop(name) for name in (*run, "callbacks") if name in settings}
    settings = {"batch_size": 2, "seed": 3, **settings}
    unlearn(Unlearning(model, data, negative_loss, ADAM, **settings), **run)
    return flat(model)


def scheduled(stopping, limit, losses=None, evaluate=lambda: None):
    """Evaluations whose forget-set losses are given, or 0."""
    values = iter([0.0] * 99 if losses is None else losses)
    return ScheduledEvaluations(stopping, limit, lambda: next(values), evaluate, "the forget set")


@pytest.mark.parametrize("batch_size", [1, 3, 99])
def test_it_is_the_bare_loop(trained, batch_size):
    data = sequences(1, 3, 5, ragged=True)
    found = unlearned(trained[0], data, batch_size=batch_size)
    model = copy.deepcopy(trained[0])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for indices in islice(batches(5, batch_size, seed=3), 7):
        optimizer.zero_grad()
        (-mean_loss(model, data.batch(indices))).backward()
        optimizer.step()
    torch.testing.assert_close(found, flat(model), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("max_tokens", [8, 16, 24])
def test_micro_batches_take_the_steps_of_the_whole_batch(trained, max_tokens):
    data, stopping = sequences(1, 3, 5, ragged=True), Stopping(steps=7, evaluations=3)
    whole = unlearned(trained[0], data, batch_size=5)
    evaluations = scheduled(stopping, 7)
    parts = unlearned(
        trained[0], data, batch_size=5, max_tokens=max_tokens, callbacks=[evaluations]
    )
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-7)
    assert evaluations.steps == [1, 3, 7]
    assert len(evaluations.own_losses) == 4


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 15), (2, 8), (99, 3)])
def test_epochs_are_steps_over_the_dataset(batch_size, steps):
    assert Stopping(epochs=3).limit(5, batch_size) == steps


def test_with_dropout_the_steps_are_those_of_training_mode_and_of_the_seed():
    model, data = opt(torch.float64, hidden=8, dropout=0.3), sequences(1, 3, 5)
    found = []
    for draws, settings in enumerate([{}, {}, {"seed": 4}]):
        torch.randn(draws)  # another random state
        found.append(unlearned(model, data, batch_size=5, dropout=True, **settings))
    once, again, other_seed = found
    assert torch.equal(once, again)
    assert not torch.allclose(once, other_seed)
    assert not torch.allclose(once, unlearned(model, data, batch_size=5))
    without = opt(torch.float64, hidden=8)
    assert torch.equal(
        unlearned(without, data, dropout=True), unlearned(without, data, dropout=False)
    )


def test_each_step_and_micro_batch_has_its_own_dropout_and_evaluations_have_none(monkeypatch):
    masks, modes, model = [], [], opt(torch.float64, hidden=8, dropout=0.3)
    dropout = torch.nn.functional.dropout

    def recorded(x, p=0.5, training=True, inplace=False):
        if training:
            masks.append((dropout(torch.ones_like(x), p, True) > 0).flatten())
        return dropout(x, p, training, inplace)

    monkeypatch.setattr(torch.nn.functional, "dropout", recorded)

    def evaluate():
        modes.append(model.training)

    evaluations = scheduled(Stopping(steps=4, every=1), 4, evaluate=evaluate)
    unlearn(
        Unlearning(model, sequences(1, 3, 4), negative_loss, ADAM, 4, seed=3, dropout=True),
        max_tokens=16, steps=4, trainer=CPU, callbacks=[evaluations],
    )  # fmt: skip
    assert modes == [False] * 4
    assert not model.training
    first = [mask for mask in masks if len(mask) == len(masks[0])]
    assert len(first) >= 4 * 2
    assert len({tuple(mask.tolist()) for mask in first}) == len(first)


def test_evaluations_are_of_the_weights_of_their_step(trained):
    data, stopping = sequences(1, 3, 5), Stopping(steps=7, evaluations=3)
    model, weights = copy.deepcopy(trained[0]), []

    def evaluate():
        weights.append(flat(model))

    unlearn(
        Unlearning(model, data, negative_loss, ADAM, batch_size=2, seed=3), max_tokens=8, steps=7,
        trainer=CPU, callbacks=[scheduled(stopping, 7, evaluate=evaluate)],
    )  # fmt: skip
    for at, steps in zip(weights, (1, 3, 7), strict=True):
        assert torch.equal(at, unlearned(trained[0], data, max_tokens=8, steps=steps))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_with_inductor_it_takes_the_same_steps():
    """In float64: the gradient of a key's bias is 0 but for rounding, which is 1e-13 in float32,
    large enough beside Adam's eps of 1e-8 for steps of 1e-6 that differ between any two kernels.
    """
    torch._dynamo.reset()
    model, data = opt(torch.float64), sequences(1, 3, 5)
    found = unlearned(model, data, trainer=replace(CPU, compile=True), batch_size=3, max_tokens=16)
    eager = unlearned(model, data, batch_size=3, max_tokens=16)
    torch.testing.assert_close(found, eager, rtol=1e-10, atol=1e-12)


def test_the_schedule_ends_at_the_limit():
    assert Stopping(steps=100, evaluations=1).schedule(100) == [100]
    assert Stopping(steps=100, evaluations=3).schedule(100) == [1, 10, 100]
    assert Stopping(steps=3, evaluations=50).schedule(3) == [1, 2, 3]
    assert Stopping(steps=24, every=8).schedule(24) == [8, 16, 24]
    assert Stopping(steps=7, every=3).schedule(7) == [3, 6, 7]
    assert Stopping(steps=7, every=9).schedule(7) == [7]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either steps or epochs"),
        ({"steps": 1, "epochs": 1}, "either steps or epochs"),
        ({"steps": 0}, r"stopping\.steps=0 must be positive"),
        ({"epochs": -1}, r"stopping\.epochs=-1 must be positive"),
        ({"steps": 1, "evaluations": 0}, r"stopping\.evaluations=0 must be at least 1"),
        ({"steps": 1, "every": 0}, r"stopping\.every=0 must be at least 1"),
        ({"steps": 1, "probe": 0}, r"stopping\.probe=0 must be at least 1"),
    ],
)
def test_senseless_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Stopping(**settings)


def test_a_run_leaves_no_memory_behind(trained):
    """Without garbage collection, which may come after many runs of a large model."""
    states = []

    class Seen(lightning.Callback):
        def on_train_end(self, trainer, module):
            for of_weight in trainer.optimizers[0].state.values():
                states.append(weakref.ref(of_weight["exp_avg"]))
            states.append(weakref.ref(module))

    gc.disable()
    try:
        unlearned(trained[0], sequences(1, 3, 5), callbacks=[Seen()])
        assert len(states) > 2
        assert [state() for state in states if state() is not None] == []
    finally:
        gc.enable()


@pytest.mark.parametrize(("batch_size", "parts"), [(1, 1), (5, 1), (5, 3)])
def test_the_module_runs_in_any_trainer(trained, batch_size, parts, tmp_path):
    quiet()
    data = sequences(1, 3, 5, ragged=True)
    module = Unlearning(copy.deepcopy(trained[0]), data, negative_loss, ADAM, batch_size, 3)
    lightning.Trainer(
        accelerator="cpu", max_steps=7, max_epochs=-1, accumulate_grad_batches=parts,
        default_root_dir=tmp_path, logger=False, enable_progress_bar=False,
    ).fit(module)  # fmt: skip
    expected = unlearned(trained[0], data, batch_size=batch_size)
    torch.testing.assert_close(flat(module.model), expected, rtol=1e-5, atol=1e-7)


class Counting:
    """A backend of `torch.compile`: how many graphs it was given, and how often they ran."""

    def __init__(self):
        self.graphs = self.runs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1

        def run(*args):
            self.runs += 1
            return graph(*args)

        return run


def test_packed_sequences_are_compiled_once_and_others_are_not(monkeypatch):
    """By a backend that runs what torch traces as it is, and counts; needs no C++ compiler."""
    torch._dynamo.reset()
    backend = Counting()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    model = opt(torch.float64)
    compiled = {"trainer": replace(CPU, compile=True), "batch_size": 1}
    ragged, packed = sequences(1, 3, 5, ragged=True), sequences(1, 3, 5)
    unlearned(model, ragged, **compiled)
    assert backend.runs == 0
    for _ in range(2):
        found = unlearned(model, packed, **compiled)
        eager = unlearned(model, packed, batch_size=1)
        torch.testing.assert_close(found, eager, rtol=1e-6, atol=1e-8)
    assert backend.graphs == 1
    assert backend.runs == 14
