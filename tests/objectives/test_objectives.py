"""What every objective promises at each step. They are found in conf/objective."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tests import dense
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


# ------------------ Each objective against its formula, written out anew with dense probabilities
def value(objective, job, model):
    [micro_batch] = parts_of(job.forget_set, len(job.forget_set))
    return float(objective.prepare(job)(model, micro_batch).detach())


def probabilities(model, data):
    """(N, T, V) of the next token, with no use of the package's own losses."""
    with torch.no_grad():
        return model(input_ids=data.input_ids.long()).logits[:, :-1].softmax(-1)


def one_by_one(data):
    return [data.select(torch.tensor([i])) for i in range(len(data))]


@pytest.mark.parametrize("beta", [0.1, 1.0, 5.0])
def test_npo_is_its_formula(beta, trained):
    """For examples of one length, with the geometric mean of each token's probability as π."""
    theta0, data = trained[0], sequences(1, 3, 5)
    model = away(theta0)
    tokens = data.input_ids[:, 1:].long()

    def pi(m):
        of_tokens = probabilities(m, data).gather(-1, tokens[..., None])[..., 0]
        return of_tokens.prod(1) ** (1 / tokens.shape[1])

    ratio = pi(model) / pi(theta0)
    expected = float((2 / beta * (1 + ratio**beta).log()).mean())
    found = value(NPO(beta), inputs(theta0, data), model)
    assert found == pytest.approx(expected, rel=1e-12)


def test_npo_lets_go_of_each_example_by_how_far_it_is_forgotten(trained):
    """Its gradient is that of ascent with each example's weight turned down: 2σ(-β rise)."""
    theta0, data, beta = trained[0], sequences(1, 3, 5, ragged=True), 5.0
    model = away(theta0, by=0.3)
    expected = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    for one in one_by_one(data):
        rise = dense.loss_of(model, one)(dense.flat(model)) - dense.loss_of(theta0, one)(
            dense.flat(theta0)
        )
        share_of_tokens = int(one.scored) / int(data.scored.sum())
        force = 2 / (1 + math.exp(beta * float(rise)))
        expected -= force * share_of_tokens * dense.gradient(model, one)
    found = gradient(NPO(beta).prepare(inputs(theta0, data)), model, parts_of(data, 5))
    assert (found - expected).norm() <= 1e-9 * expected.norm()


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_kl_is_its_formula(weight, trained):
    """With all sequences of the others read at once."""
    theta0, data = trained[0], sequences(1, 3, 5)
    job, model = inputs(theta0, data), away(theta0)
    p, q = (
        torch.cat([probabilities(m, other) for other in job.retain_set.values()])
        for m in (theta0, model)
    )
    kl = float((p * (p / q).log()).sum(-1).mean())
    objective = KL(weight, examples=99, batch_size=99)
    expected = value(Ascent(), job, model) + weight * kl
    assert value(objective, job, model) == pytest.approx(expected, rel=1e-12)


def test_kl_reads_other_sequences_at_every_step(trained):
    """And all of them in turn."""
    theta0, data = trained[0], sequences(1, 3, 5)
    job, model = inputs(theta0, data), away(theta0)
    loss = KL(1.0, examples=4, batch_size=2).prepare(job)
    plain = value(Ascent(), job, model)
    found = [float(loss(model, parts_of(data, 5, step)[0]).detach()) - plain for step in range(8)]
    assert len({round(x, 12) for x in found[:4]}) == 4
    assert found[:4] == found[4:]
    whole = value(KL(1.0, 4, 99), inputs(theta0, data), model) - plain
    assert sum(found[:4]) / 4 == pytest.approx(whole, rel=1e-12)


def test_npo_tends_to_ascent_everywhere(trained):
    theta0, data = trained[0], sequences(1, 3, 5, ragged=True)
    job, model, parts = inputs(theta0, data), away(theta0, by=0.3), parts_of(data, 2)
    ascent = gradient(Ascent().prepare(job), model, parts)
    errors = [
        float((gradient(NPO(beta).prepare(job), model, parts) - ascent).norm() / ascent.norm())
        for beta in (1e-2, 1e-4)
    ]
    assert errors[0] < 1e-2
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.05)  # first order in β
