"""What ties the methods together, on a model small enough for float64 and dense derivatives."""

from functools import partial

import pytest
import torch

from tests import dense
from tests.dense import error, scores
from untrac_exp.methods.graddot import GradDot
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.stages.unlearning import Stopping

FULL = 10**6


def one_step(kind, lr):
    return kind(partial(torch.optim.SGD, lr=lr), Ascent(), Stopping(steps=1, evaluations=1), FULL)


def times(factor, values):
    return {key: factor * value for key, value in values.items()}


def falls_in_proportion(errors):
    """With the learning rates 1e-4, 1e-5 and 1e-6."""
    assert errors[0] < 0.05
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)
    assert errors[2] == pytest.approx(errors[1] / 10, rel=0.1)


@pytest.mark.parametrize("kind", [UnTrac, UnTracInv])
def test_one_step_over_one_full_batch_is_graddot_to_first_order(kind, fresh_subject):
    products = scores(GradDot().influences(fresh_subject()))
    falls_in_proportion([
        error(scores(one_step(kind, lr).influences(fresh_subject())), times(lr, products))
        for lr in (1e-4, 1e-5, 1e-6)
    ])  # fmt: skip


def test_untrac_and_its_inverse_agree_to_first_order(fresh_subject):
    errors = []
    for lr in (1e-4, 1e-5, 1e-6):
        forth = scores(one_step(UnTrac, lr).influences(fresh_subject()))
        back = scores(one_step(UnTracInv, lr).influences(fresh_subject()))
        errors.append(error(back, forth))
    falls_in_proportion(errors)


def test_they_differ_by_their_curvatures_in_the_second_order(fresh_subject):
    """UnTrac − UnTrac-Inv = lr²/2 (g'H'g − g''Hg') + O(lr³), g and H of the corpus, g' and H' of
    the test set: a number that neither method computes.
    """
    lr, subject = 1e-5, fresh_subject()
    forth = scores(one_step(UnTrac, lr).influences(fresh_subject()))
    back = scores(one_step(UnTracInv, lr).influences(fresh_subject()))

    def derivatives(data):
        return dense.gradient(subject.model, data), dense.hessian(subject.model, data)

    of_corpora = {name: derivatives(data) for name, data in subject.corpora.items()}
    of_subsets = {tuple(name): derivatives(data) for name, data in subject.subsets.items()}
    found, expected = {}, {}
    for corpus, (g, h) in of_corpora.items():
        for subset, (g_, h_) in of_subsets.items():
            key = (corpus, *subset)
            found[key] = (forth[key] - back[key]) / lr**2
            expected[key] = float(g @ h_ @ g - g_ @ h @ g_) / 2
    assert error(found, expected) < 1e-2


def test_accumulated_shares_give_the_answer_of_the_full_batch(fresh_subject):
    """For several steps of an optimizer that does not care for the gradient's scale."""
    method = UnTracInv(
        partial(torch.optim.Adam, lr=1e-3), Ascent(), Stopping(steps=5, evaluations=2), FULL
    )
    whole = scores(method.influences(fresh_subject(max_tokens=FULL)))
    for max_tokens in (8, 16, 40):
        assert error(scores(method.influences(fresh_subject(max_tokens=max_tokens))), whole) < 1e-5
