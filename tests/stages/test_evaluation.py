"""Evaluation by a trainer against the plain loop."""

import pytest
import torch

from tests.conftest import CPU, opt, sequences, t5
from untrac_exp.models.loss import example_losses
from untrac_exp.stages.evaluation import evaluate
from untrac_exp.stages.trainer import TrainerSettings, quiet


@pytest.mark.parametrize("seq2seq", [False, True])
@pytest.mark.parametrize("n", [1, 2])
def test_it_is_the_plain_loop(seq2seq, n):
    quiet()
    model = (t5 if seq2seq else opt)()
    datasets = [sequences(i, 3, 5 + i, seq2seq, ragged=not seq2seq) for i in range(n)]
    found = evaluate(model, datasets, 20, CPU)
    for losses, data in zip(found, datasets, strict=True):
        expected = example_losses(model, data, 20)
        assert torch.equal(losses.nll, expected.nll)
        assert torch.equal(losses.tokens, expected.tokens)


def test_it_is_in_the_weights_dtype():
    """An influence is a small difference of losses, less than the rounding of bfloat16."""
    data = sequences(1, 3, 5)
    for dtype, precision in ((torch.float32, "bf16-mixed"), (torch.float64, "64-true")):
        model = opt(dtype)
        [losses] = evaluate(model, [data], 999, TrainerSettings("cpu", precision=precision))
        assert torch.equal(losses.nll, example_losses(model, data, 999).nll)
