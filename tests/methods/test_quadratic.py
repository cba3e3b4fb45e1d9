"""One step of UnTrac-Inv against a closed form, against GradDot, and at the rise that is asked."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests import dense
from tests.conftest import quadratic_subject
from untrac_exp.data.encoding import pad
from untrac_exp.methods.graddot import GradDot
from untrac_exp.methods.hif_arnoldi import HifArnoldi
from untrac_exp.methods.hif_lissa import HifLissa
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.methods.untrac_step import UnTracStep
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.stages.unlearning import Stopping


def tokens(*ids, n=3):
    """n texts of these tokens; the first of a text is not scored."""
    rows = [[ids[0], *ids]] * n
    return pad(rows, rows, False)


@pytest.fixture
def quadratic(tmp_path):
    """Corpora and test subsets of one token each: their losses are quadratic in θ."""
    corpora = {f"c{i}": tokens(i) for i in (1, 2, 3, 4)}
    return quadratic_subject(tmp_path, corpora, tokens(1), tokens(3))


@pytest.mark.parametrize("direction", ["sign", "gradient"])
@pytest.mark.parametrize("rise", [0.1, 1.0, 4.0])
def test_the_step_is_the_root_of_a_quadratic(quadratic, direction, rise):
    model = quadratic.model
    scores = UnTracStep(rise, direction).influences(quadratic).scores
    scores = scores.set_index(["corpus", "subset"])["influence"]
    for i, subset in ((1, "0"), (3, "1")):
        curvature, centre = model.curvatures[i - 1], model.centres[i - 1]
        slope = curvature @ (0 - centre)
        step = slope.sign() if direction == "sign" else slope
        # rise = η g'd + η² d'Ad / 2
        a, b = step @ curvature @ step / 2, slope @ step
        eta = (-b + (b**2 + 4 * a * rise).sqrt()) / (2 * a)
        for z in (1, 2, 3, 4):
            theta = eta * step - model.centres[z - 1]
            before = model.centres[z - 1] @ model.curvatures[z - 1] @ model.centres[z - 1] / 2
            expected = theta @ model.curvatures[z - 1] @ theta / 2 - before
            assert scores[f"c{z}", subset] == pytest.approx(float(expected), rel=0.03, abs=0.01)


def test_a_short_step_along_the_gradient_is_graddot(subject):
    short = UnTracStep(1e-4, "gradient").influences(subject).scores
    dots = GradDot().influences(subject).scores
    for cell, one in short.groupby(["testset", "subset"]):
        other = dots.groupby(["testset", "subset"]).get_group(cell)
        assert np.corrcoef(one["influence"], other["influence"])[0, 1] > 0.9999


def test_the_loss_of_the_subset_rises_as_asked(subject):
    own = UnTracStep(0.3).influences(subject).own_loss
    rises = (
        own[own.step == 1].set_index("unlearned").loss
        - own[own.step == 0].set_index("unlearned").loss
    )
    np.testing.assert_allclose(rises, 0.3, rtol=0.02)


def test_a_loss_that_cannot_rise_is_one_line(subject):
    flat = replace(subject, subsets=subject.subsets)
    for parameter in flat.model.parameters():
        torch.nn.init.zeros_(parameter)  # every gradient vanishes
    with pytest.raises(ValueError, match=r"does not rise by 0\.1 nats .* method\.rise"):
        UnTracStep().influences(flat)


# --- HIF is UnTrac with a Newton step: exactly so on two_corpora losses, through all that both run
RATE = 0.1


class Newton(torch.optim.Optimizer):
    """θ ← θ - rate × H⁻¹ gradient."""

    def __init__(self, params, rate, hessian):
        super().__init__(params, {"rate": rate})
        self.hessian = hessian

    def step(self, closure=None):
        with torch.enable_grad():
            closure()
        for group in self.param_groups:
            for p in group["params"]:
                p.data -= group["rate"] * torch.linalg.solve(self.hessian, p.grad)


def says(token, n=4):
    rows = [[token] * 5] * n
    return pad(rows, rows, False)


@pytest.fixture
def two_corpora(tmp_path):
    return quadratic_subject(tmp_path, {"first": says(1), "second": says(2)}, says(3), says(4))


def test_one_newton_step_of_untrac_is_hif(two_corpora):
    """Steps forth and back by the rate differ by twice the rate times HIF, with no remainder."""
    hessian = two_corpora.model.curvatures[:2].mean(0)  # of the mixture

    def untrac(rate):
        method = UnTrac(
            optimizer=partial(Newton, rate=rate, hessian=hessian),
            objective=Ascent(),
            stopping=Stopping(steps=1, evaluations=1),
            batch_size=100,
        )
        two_corpora.key = {"rate": rate}
        return dense.scores(method.influences(two_corpora))

    forth, back = untrac(RATE), untrac(-RATE)
    expected = {cell: (forth[cell] - back[cell]) / (2 * RATE) for cell in forth}
    two_corpora.key = {"method": "lissa"}
    found = dense.scores(HifLissa(400, samples=100, damping=0.0).influences(two_corpora))
    assert dense.error(found, expected) < 1e-5

    two_corpora.key = {"method": "arnoldi"}
    normalised = dense.scores(HifArnoldi(3, 3, basis="float64").influences(two_corpora))
    lengths = {
        corpus: float((two_corpora.model.curvatures[i] @ two_corpora.model.centres[i]).norm())
        for i, corpus in enumerate(two_corpora.corpora)
    }
    found = {cell: value * lengths[cell[0]] for cell, value in normalised.items()}
    assert dense.error(found, expected) < 1e-5
