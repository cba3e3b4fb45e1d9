"""The loss of θ0: refused if it is not finite, compared with that of a uniform guess."""

import math

import pytest
import torch

from tests.conftest import VOCAB, opt
from untrac_exp.data.base import Subset
from untrac_exp.methods.common.budget import attribute
from untrac_exp.methods.common.theta0 import weak
from untrac_exp.methods.ngram import NGram
from untrac_exp.models.loss import mean_loss


def first(method, subject):
    return next(attribute(method, subject))


def test_each_testset_has_its_loss_and_that_of_a_uniform_guess(subject):
    theta0 = first(NGram(order=2), subject).theta0
    assert list(theta0) == ["copies", "likenesses"]
    copies = subject.subsets[Subset("copies", "threes")]
    expected = mean_loss(subject.model, copies.batch(slice(None))).item()
    assert theta0["copies"] == {
        "loss": pytest.approx(expected), "uniform": pytest.approx(math.log(VOCAB))
    }  # fmt: skip


def test_a_random_model_is_not_clearly_better_than_a_guess(fresh_subject):
    assert weak({"t": {"loss": 2.0, "uniform": math.log(VOCAB)}}) == []
    random = opt(torch.float64)
    [warning, *_] = first(NGram(order=2), fresh_subject(load=lambda: random)).influences.warnings
    assert "'copies'" in warning
    assert f"not clearly below the {math.log(VOCAB):.2f} nats per token of a uniform" in warning


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_model_whose_loss_is_not_finite_is_refused(fresh_subject, weight):
    model = opt()
    model.model.decoder.layers[0].fc1.weight.data[0, 0] = weight
    with pytest.raises(ValueError, match=r"θ0's loss on copies/threes is (nan|inf); give"):
        first(NGram(order=2), fresh_subject(load=lambda: model))
