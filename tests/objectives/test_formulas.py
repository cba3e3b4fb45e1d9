"""Each objective against its formula, written out anew with dense probabilities."""

import math

import pytest
import torch

from tests import dense
from tests.conftest import sequences
from tests.objectives.test_objectives import away, gradient, inputs, parts_of
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.objectives.kl import KL
from untrac_exp.objectives.npo import NPO


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
