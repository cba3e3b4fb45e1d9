"""The gradient of a dataset, against one backward pass through all of it."""

import pytest
import torch

from tests import dense
from tests.conftest import corpora, opt, subsets, t5
from untrac_exp.stages.gradient import mean_gradient

BUILD = {False: opt, True: t5}


@pytest.mark.parametrize("seq2seq", [False, True])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
@pytest.mark.parametrize("max_tokens", [1, 24, 10_000])
def test_is_the_gradient_of_the_whole_dataset_at_once(seq2seq, dtype, bound, max_tokens):
    model = BUILD[seq2seq](dtype)
    for data in (*corpora(seq2seq).values(), *subsets(seq2seq).values()):
        expected = dense.gradient(model, data)
        found = mean_gradient(model, data, max_tokens)
        assert found.dtype == dtype
        assert float((found - expected).norm() / expected.norm()) < bound
    assert all(p.grad is None for p in model.parameters())


def test_parameters_out_of_training_are_left_out():
    model = opt()
    everything = mean_gradient(model, corpora()["ones"], 100)
    first = next(model.parameters()).requires_grad_(False)
    rest = mean_gradient(model, corpora()["ones"], 100)
    torch.testing.assert_close(rest, everything[first.numel() :])
