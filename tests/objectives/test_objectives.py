"""What every objective promises at each step. They are found in conf/objective."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tests.conftest import corpora, sequences, t5
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.objectives.base import ObjectiveInputs
from untrac_exp.objectives.kl import KL
from untrac_exp.objectives.npo import NPO
from untrac_exp.stages.micro_batches import micro_batches

CONF = sorted((Path(__file__).parents[2] / "conf" / "objective").glob("*.yaml"))
OBJECTIVES = {file.stem: instantiate(OmegaConf.load(file)) for file in CONF}
WEIGHTS = {NPO: "beta", KL: "weight"}

every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
every_other = pytest.mark.parametrize(
    "objective",
    [o for o in OBJECTIVES.values() if not isinstance(o, Ascent)],
    ids=lambda o: type(o).__name__,
)


def inputs(model, data, seq2seq=False, **other):
    retain = {name: c for name, c in corpora(seq2seq).items() if name != "threes"}
    return ObjectiveInputs(model, data, retain, **{"max_tokens": 40, "seed": 0, **other})


def away(model, seed=1, by=0.05):
    """The model somewhere else than at θ0, where no term of an objective vanishes."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p += by * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return model


def parts_of(data, micro_batch_size, step=3):
    """The micro-batches of batch `step`, which holds all of `data`."""
    n = -(-len(data) // micro_batch_size)
    batches = [torch.arange(len(data))] * (step + 1)
    return list(micro_batches(data, batches, n))[-n:]


def gradient(loss, model, parts):
    model.zero_grad()
    for micro_batch in parts:
        (loss(model, micro_batch) / len(parts)).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def theta0_and_data(kind, trained):
    if kind == "seq2seq":
        return t5(torch.float64), sequences(1, 3, 5, seq2seq=True)
    return trained[0], sequences(1, 3, 5, ragged=kind == "ragged")


@every_objective
@pytest.mark.parametrize("kind", ["blocks", "ragged", "seq2seq"])
def test_its_gradient_is_that_of_differences(objective, kind, trained):
    step, tolerance = (1e-4, 3e-3) if kind == "seq2seq" else (1e-6, 1e-6)  # T5 norms in float32
    theta0, data = theta0_and_data(kind, trained)
    loss = objective.prepare(inputs(theta0, data, kind == "seq2seq"))
    model, [micro_batch] = away(theta0), parts_of(data, len(data))
    found = gradient(loss, model, [micro_batch])
    at = parameters_to_vector(model.parameters()).detach()
    generator = torch.Generator().manual_seed(2)
    for _ in range(5):
        direction = torch.randn(at.shape, generator=generator, dtype=at.dtype)
        values = []
        for sign in (1, -1):
            vector_to_parameters(at + sign * step * direction, model.parameters())
            values.append(float(loss(model, micro_batch).detach()))
        expected = (values[0] - values[1]) / (2 * step)
        assert float(found @ direction) == pytest.approx(
            expected, abs=tolerance * float(found.norm())
        )


@every_objective
@pytest.mark.parametrize("kind", ["blocks", "ragged", "seq2seq"])
@pytest.mark.parametrize("micro_batch_size", [1, 2, 3])
def test_micro_batches_add_up_to_the_batch(objective, kind, micro_batch_size, trained):
    theta0, data = theta0_and_data(kind, trained)
    loss = objective.prepare(inputs(theta0, data, kind == "seq2seq"))
    model = away(theta0)
    whole = gradient(loss, model, parts_of(data, len(data)))
    parts = gradient(loss, model, parts_of(data, micro_batch_size))
    assert (whole - parts).norm() <= 1e-10 * whole.norm()


@every_other
@pytest.mark.parametrize("kind", ["blocks", "ragged", "seq2seq"])
def test_without_its_weight_it_is_ascent(objective, kind, trained):
    theta0, data = theta0_and_data(kind, trained)
    plain = replace(objective, **{WEIGHTS[type(objective)]: 0.0})
    job = inputs(theta0, data, kind == "seq2seq")
    model, parts = away(theta0), parts_of(data, 2)
    found = gradient(plain.prepare(job), model, parts)
    expected = gradient(Ascent().prepare(job), model, parts)
    assert (found - expected).norm() <= 1e-12 * expected.norm()


@every_objective
@pytest.mark.parametrize("kind", ["blocks", "ragged", "seq2seq"])
def test_it_sets_out_like_ascent(objective, kind, trained):
    """At θ0 the bounded ones have not let go yet and the anchors do not pull."""
    theta0, data = theta0_and_data(kind, trained)
    job = inputs(theta0, data, kind == "seq2seq")
    model, parts = copy.deepcopy(theta0), parts_of(data, 2)
    found = gradient(objective.prepare(job), model, parts)
    expected = gradient(Ascent().prepare(job), model, parts)
    assert (found - expected).norm() <= 1e-6 * expected.norm()


@every_other
@pytest.mark.parametrize("name", ["weight", "beta", "examples", "batch_size"])
def test_a_senseless_value_is_refused_by_name(objective, name):
    if hasattr(objective, name):
        with pytest.raises(ValueError, match=rf"^objective\.{name}=-1 must "):
            replace(objective, **{name: -1})


def test_an_anchor_needs_ground(trained):
    job = replace(inputs(trained[0], corpora()["threes"]), retain_set={})
    with pytest.raises(ValueError, match="at least two corpora"):
        KL().prepare(job)
