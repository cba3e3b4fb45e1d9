"""Hessian-vector products, against a dense Hessian and against differences of gradients."""

import pytest
import torch

from tests import dense
from tests.conftest import corpora, opt, subsets, t5, train
from untrac_exp.stages.gradient import mean_gradient
from untrac_exp.stages.hessian import hessian_vector_product, largest_eigenvalue

BUILD = {False: opt, True: t5}
RAGGED = list(subsets())[1]


@pytest.fixture(scope="module")
def theta0():
    return train(opt(torch.float64))[0]


@pytest.mark.parametrize("max_tokens", [1, 24, 10_000])
@pytest.mark.parametrize("data", [corpora()["ones"], subsets()[RAGGED]], ids=["full", "ragged"])
def test_is_the_dense_hessian_times_the_vector(theta0, data, max_tokens):
    matrix = dense.hessian(theta0, data)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-6, atol=1e-8)
    vector = torch.randn(len(matrix), dtype=torch.float64)
    found = hessian_vector_product(theta0, data, max_tokens, vector)
    assert float((found - matrix @ vector).norm() / found.norm()) < 1e-6
    assert all(p.grad is None for p in theta0.parameters())


# T5 normalises in float32 whatever its weights are
@pytest.mark.parametrize(("seq2seq", "step", "bound"), [(False, 3e-4, 1e-5), (True, 1e-3, 1e-3)])
def test_is_the_difference_of_two_gradients(seq2seq, step, bound):
    model, _ = train(BUILD[seq2seq](torch.float64), 20, seq2seq=seq2seq)
    data = corpora(seq2seq)["ones"]
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    vector = torch.randn(len(before), dtype=torch.float64)
    vector /= vector.norm()
    exact = hessian_vector_product(model, data, 30, vector)
    moved = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(before + sign * step * vector, model.parameters())
        moved.append(mean_gradient(model, data, 30))
    torch.nn.utils.vector_to_parameters(before, model.parameters())
    difference = (moved[0] - moved[1]) / (2 * step)
    assert float((exact - difference).norm() / exact.norm()) < bound


def test_power_iterations_find_the_largest_eigenvalue(theta0):
    data = corpora()["threes"]
    expected = float(torch.linalg.eigvalsh(dense.hessian(theta0, data)).abs().max())
    start = torch.randn(sum(p.numel() for p in theta0.parameters()), dtype=torch.float64)
    found = [
        largest_eigenvalue(
            lambda v: hessian_vector_product(theta0, data, 100, v), start, iterations
        )
        for iterations in (1, 10, 60)
    ]
    assert found == sorted(found)
    assert found[1] == pytest.approx(expected, rel=0.2)
    assert found[2] == pytest.approx(expected, rel=1e-2)
