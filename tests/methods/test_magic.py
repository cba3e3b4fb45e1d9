"""MAGIC against finite differences of whole trainings with weighted corpora."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.conftest import CPU, corpora, made_training, make_subject, opt, subsets
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.order import batches
from untrac_exp.methods.magic import Magic
from untrac_exp.models.loss import example_losses, token_nll
from untrac_exp.stages.pretraining import PretrainingSettings
from untrac_exp.stages.schedule import Schedule

STEPS, SEED, EPSILON = 25, 3, 1e-4


def settings(clip):
    adam = partial(torch.optim.Adam, lr=2e-2, betas=(0.8, 0.95), eps=1e-4)
    return PretrainingSettings(STEPS, 7, adam, clip, 10, Schedule(2, None))


def losses_of_a_training(weights, clip):
    """Losses on the test subsets after training with weights of the corpora, a plain loop."""
    model = opt(torch.float64)
    data = Encoded.concatenate(list(corpora().values()))
    sizes = torch.tensor([len(of) for of in corpora().values()])
    owners = torch.arange(len(sizes)).repeat_interleave(sizes)
    mean = float((torch.tensor(weights) * sizes).sum() / sizes.sum())
    given = settings(clip)
    optimizer = given.optimizer(model.parameters())
    for step, rows in zip(range(STEPS), batches(len(data), 7, SEED), strict=False):
        optimizer.param_groups[0]["lr"] = 2e-2 * given.schedule(step, STEPS)
        optimizer.zero_grad()
        nll, tokens = token_nll(model.train(), data.batch(rows))
        of_rows = torch.tensor(weights, dtype=torch.float64)[owners[rows]]
        ((nll.sum(1) * of_rows).sum() / tokens.sum() / mean).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    model.eval()
    return {name: example_losses(model, of, 99).mean for name, of in subsets().items()}


@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("max_tokens", [4096, 21])
def test_it_is_the_derivative_of_training(tmp_path, clip, max_tokens):
    """Within a hundredth of central differences, clipped or not, in one micro-batch or several."""
    initial = opt(torch.float64)
    training = made_training(initial, settings(clip), replace(CPU, max_tokens=max_tokens))
    other = opt(torch.float64)
    subject = make_subject(other, tmp_path, training=training, train_seed=SEED)
    before = [weight.detach().clone() for weight in subject.model.parameters()]
    scores = Magic().influences(subject).scores
    for weight, value in zip(subject.model.parameters(), before, strict=True):
        assert torch.equal(weight, value)
    found = scores.set_index(["corpus", "testset", "subset"])["influence"]
    largest = found.abs().max()
    for c, corpus in enumerate(corpora()):
        ends = []
        for sign in (1, -1):
            weights = [1.0] * len(corpora())
            weights[c] += sign * EPSILON
            ends.append(losses_of_a_training(weights, clip))
        for name in subsets():
            slope = (ends[0][name] - ends[1][name]) / (2 * EPSILON)
            np.testing.assert_allclose(found[corpus, *name], -slope, atol=0.01 * largest)
    assert found.groupby(["testset", "subset"]).sum().abs().max() < 0.01 * largest


def test_derivatives_that_explode_are_said_to(tmp_path):
    """As they do with Adam's usual eps, since weights have gradients of 0 but for rounding."""
    adam = partial(torch.optim.Adam, lr=2e-2, eps=1e-8)
    training = made_training(opt(), PretrainingSettings(60, 64, adam, 0.0, 20))
    subject = make_subject(opt(), tmp_path, training=training, train_seed=SEED)
    [warning] = Magic().influences(subject).warnings
    assert warning.startswith("the derivatives reach ")
    assert not subject.model.training


def test_a_model_trained_elsewhere_is_refused(subject):
    with pytest.raises(ValueError, match="method=magic goes back through"):
        Magic().influences(subject)
