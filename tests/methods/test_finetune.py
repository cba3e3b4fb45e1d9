"""Fine-tuning without each corpus, against a plain loop and against its first order."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.conftest import make_subject
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.order import batches
from untrac_exp.methods.finetune import FineTune
from untrac_exp.models.loss import example_losses, mean_loss
from untrac_exp.models.weights import parameters
from untrac_exp.stages.gradient import mean_gradient


def influences(method, subject):
    scores = method.influences(subject).scores
    return {(row.corpus, row.testset, row.subset): row.influence for row in scores.itertuples()}


def test_it_is_two_trainings_in_the_same_order(subject):
    found = influences(FineTune(partial(torch.optim.Adam, lr=1e-2), 4, 2.0), subject)
    model, data = subject.model, Encoded.concatenate(list(subject.corpora.values()))
    theta0 = {name: value.clone() for name, value in model.state_dict().items()}
    owners = [name for name, of in subject.corpora.items() for _ in range(len(of))]

    def losses(without):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        keep = torch.tensor([owner != without for owner in owners])
        steps = 2 * len(data) // 4
        for step, rows in zip(range(steps), batches(len(data), 4, 0, keep), strict=False):
            optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
            optimizer.zero_grad()
            mean_loss(model, data.batch(rows)).backward()
            optimizer.step()
        after = {
            subset: example_losses(model, of, 99).mean for subset, of in subject.subsets.items()
        }
        model.load_state_dict(theta0)
        return after

    together = losses(None)
    for corpus in subject.corpora:
        for subset, loss in losses(corpus).items():
            expected = loss - together[subset]
            assert found[corpus, *subset] == pytest.approx(expected, abs=1e-9)


def test_one_small_step_is_a_product_of_gradients(fresh_subject):
    """One SGD step of size η on everything: η ∇L(Z') · (∇L(all) − ∇L(all but Z))."""
    subject, rate = fresh_subject(), 1e-6
    n = sum(map(len, subject.corpora.values()))
    found = influences(FineTune(partial(torch.optim.SGD, lr=rate), n, 1.0), subject)
    model = subject.model
    slopes = {name: mean_gradient(model, of, 99) for name, of in subject.subsets.items()}
    whole = mean_gradient(model, Encoded.concatenate(list(subject.corpora.values())), 99)
    for corpus in subject.corpora:
        rest = [of for name, of in subject.corpora.items() if name != corpus]
        direction = whole - mean_gradient(model, Encoded.concatenate(rest), 99)
        for subset, slope in slopes.items():
            expected = rate * float(slope @ direction)
            np.testing.assert_allclose(found[corpus, *subset], expected, rtol=1e-3)
    assert all(weight.grad is None for weight in parameters(model))


def test_one_corpus_cannot_be_left_out(trained, tmp_path):
    subject = make_subject(trained[0], tmp_path)
    subject.corpora = {"ones": subject.corpora["ones"]}
    with pytest.raises(ValueError, match=r"^method=finetune leaves out one corpus; give at least"):
        FineTune(partial(torch.optim.SGD, lr=1.0)).influences(subject)
