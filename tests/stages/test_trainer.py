"""Which precisions are taken, and why the others are not."""

import pytest

from untrac_exp.stages.trainer import TrainerSettings


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_the_precisions_that_are_right_are_taken(precision):
    assert TrainerSettings("cpu", precision=precision).build(barebones=True).precision == precision


@pytest.mark.parametrize(
    ("precision", "reason"),
    [
        ("bf16-true", "θ0 is not restored exactly"),
        ("16-true", "θ0 is not restored exactly"),
        ("16-mixed", "vanish unless the loss is scaled"),
        ("transformer-engine", "is unknown"),
    ],
)
def test_the_others_are_refused_with_the_reason(precision, reason):
    with pytest.raises(ValueError, match=rf"trainer\.precision={precision}: .*{reason}.*; use 32-"):
        TrainerSettings(precision=precision)
