"""One step of UnTrac-Inv against a closed form, against GradDot, and at the rise that is asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import quadratic_subject
from untrac_exp.data.encoding import pad
from untrac_exp.methods.graddot import GradDot
from untrac_exp.methods.untrac_step import UnTracStep


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
