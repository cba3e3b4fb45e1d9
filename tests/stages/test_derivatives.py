"""The gradient of a dataset, against one backward pass through all of it."""

import pytest
import torch

from tests import dense
from tests.conftest import CPU, corpora, opt, sequences, subsets, t5, train
from untrac_exp.models.loss import example_losses
from untrac_exp.stages.evaluation import evaluate
from untrac_exp.stages.gradient import mean_gradient
from untrac_exp.stages.hessian import hessian_vector_product, largest_eigenvalue
from untrac_exp.stages.trainer import TrainerSettings, quiet

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


# ---------- Hessian-vector products, against a dense Hessian and against differences of gradients
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


# ------------------------------------------------- Evaluation by a trainer against the plain loop
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


# ----------------------------------------- Which precisions are taken, and why the others are not
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
