"""HIF is UnTrac with a Newton step: exactly so on quadratic losses, through all that both run."""

from functools import partial

import pytest
import torch

from tests import dense
from tests.conftest import quadratic_subject
from untrac_exp.data.encoding import pad
from untrac_exp.methods.hif_arnoldi import HifArnoldi
from untrac_exp.methods.hif_lissa import HifLissa
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.stages.unlearning import Stopping

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
def quadratic(tmp_path):
    return quadratic_subject(tmp_path, {"first": says(1), "second": says(2)}, says(3), says(4))


def test_one_newton_step_of_untrac_is_hif(quadratic):
    """Steps forth and back by the rate differ by twice the rate times HIF, with no remainder."""
    hessian = quadratic.model.curvatures[:2].mean(0)  # of the mixture

    def untrac(rate):
        method = UnTrac(
            optimizer=partial(Newton, rate=rate, hessian=hessian),
            objective=Ascent(),
            stopping=Stopping(steps=1, evaluations=1),
            batch_size=100,
        )
        quadratic.key = {"rate": rate}
        return dense.scores(method.influences(quadratic))

    forth, back = untrac(RATE), untrac(-RATE)
    expected = {cell: (forth[cell] - back[cell]) / (2 * RATE) for cell in forth}
    quadratic.key = {"method": "lissa"}
    found = dense.scores(HifLissa(400, samples=100, damping=0.0).influences(quadratic))
    assert dense.error(found, expected) < 1e-5

    quadratic.key = {"method": "arnoldi"}
    normalised = dense.scores(HifArnoldi(3, 3, basis="float64").influences(quadratic))
    lengths = {
        corpus: float((quadratic.model.curvatures[i] @ quadratic.model.centres[i]).norm())
        for i, corpus in enumerate(quadratic.corpora)
    }
    found = {cell: value * lengths[cell[0]] for cell, value in normalised.items()}
    assert dense.error(found, expected) < 1e-5
