"""EK-FAC, against its formula written out for one linear layer and for the layers of OPT."""

import pytest
import torch

from tests import dense
from tests.conftest import Linear, make_subject, sequences
from untrac_exp.methods.hif_ekfac import precondition
from untrac_exp.models.loss import token_nll
from untrac_exp.stages.ekfac import Factors, embeddings, fit, fit_embeddings, linear_layers

VOCAB = Linear.vocab


def by_hand(model, data):
    """Factors of `Linear` with the labels of the data, from its inputs and softmax alone."""
    batch = data.batch(slice(None))
    x = model.embedding[batch["input_ids"]]
    x = torch.cat([x, torch.ones_like(x[..., :1])], -1)  # (N, T, in + 1)
    weights = torch.cat([model.layer.weight, model.layer.bias[:, None]], 1).detach()
    slopes = (x @ weights.T).softmax(-1)
    slopes = slopes[:, :-1] - torch.eye(len(weights))[batch["labels"][:, 1:]]
    slopes = torch.cat([slopes, torch.zeros_like(slopes[:, :1])], 1)  # the last predicts nothing
    _, inputs = torch.linalg.eigh(torch.einsum("nti,ntj->ij", x, x))
    _, outputs = torch.linalg.eigh(torch.einsum("nti,ntj->ij", slopes, slopes))
    gradients = torch.einsum("nto,nti->noi", slopes, x)  # of each sequence's summed loss
    squares = (outputs.T @ gradients @ inputs).square().sum(0)
    return Factors(outputs, inputs, squares / data.scored.sum())


def test_one_linear_layer_is_its_formula(tmp_path):
    model = Linear()
    data = dense.mixture(make_subject(model, tmp_path))
    expected = by_hand(model, data)
    found = fit(model, data, 40, seed=0, sampled=False)
    assert list(found) == ["layer"]
    gradient = dense_gradient(model, sequences(3, 4))
    damped = expected.eigenvalues + 0.1 * expected.eigenvalues.mean()
    matrix = torch.cat(
        [gradient[:-VOCAB].view(VOCAB, -1), gradient[-VOCAB:, None]], 1
    )  # weight, bias
    inner = expected.outputs.T @ matrix @ expected.inputs / damped
    solved = expected.outputs @ inner @ expected.inputs.T
    answer = precondition(model, gradient, found, 0.1)
    torch.testing.assert_close(answer[:-VOCAB].view(VOCAB, -1), solved[:, :-1])
    torch.testing.assert_close(answer[-VOCAB:], solved[:, -1])


def dense_gradient(model, data):
    model.zero_grad()
    nll, tokens = token_nll(model, data.batch(slice(None)))
    (nll.sum() / tokens.sum()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_every_layer_of_opt_sees_sequences(subject):
    """Also the feed-forward ones, which OPT gives its tokens flattened."""
    data = subject.subsets[list(subject.subsets)[1]]  # ragged
    model = subject.model
    found = fit(model, data, 20, seed=0, sampled=False)
    assert found.keys() == {*linear_layers(model)}
    assert {name.rpartition(".")[2] for name in found} >= {"q_proj", "out_proj", "fc1", "fc2"}
    assert "lm_head" not in found
    for name, (outputs, inputs, eigenvalues) in found.items():
        layer = model.get_submodule(name)
        total = torch.zeros_like(eigenvalues)
        for i in range(len(data)):
            model.zero_grad()
            token_nll(model, data.batch(torch.tensor([i])))[0].sum().backward()
            matrix = torch.cat([layer.weight.grad, layer.bias.grad[:, None]], 1)
            total += (outputs.T @ matrix @ inputs) ** 2
        expected = total / data.scored.sum()
        assert float((eigenvalues - expected).norm() / expected.norm()) < 1e-6, name


@pytest.mark.parametrize("name", ["subject", "seq2seq_subject"])
def test_embeddings_have_a_token_a_row(name, request):
    """Their Fisher is diagonal in tokens times the eigenvectors of their vectors' gradients."""
    subject = request.getfixturevalue(name)
    data, model = subject.subsets[list(subject.subsets)[1]], subject.model
    found = fit_embeddings(model, data, seed=0, sampled=False)
    assert model.get_input_embeddings().weight in list(embeddings(model).values())
    for layer, (outputs, inputs, eigenvalues) in found.items():
        weight = model.get_submodule(layer).weight
        rows = []
        for i in range(len(data)):
            model.zero_grad()
            token_nll(model, data.batch(torch.tensor([i])))[0].sum().backward()
            rows.append(weight.grad.clone())
        rows = torch.stack(rows)
        covariance = torch.einsum("nvi,nvj->ij", rows, rows)
        assert outputs is None
        diagonal = inputs.T @ covariance @ inputs
        torch.testing.assert_close(diagonal, diagonal.diagonal().diag())
        torch.testing.assert_close(eigenvalues, (rows @ inputs).square().sum(0) / data.scored.sum())
        gradient = torch.randn(sum(p.numel() for p in model.parameters()), dtype=weight.dtype)
        of_layer = precondition(model, gradient, {layer: found[layer]}, 0.1)
        damped = eigenvalues + 0.1 * eigenvalues.mean()
        names = [name for name, _ in model.named_parameters()]
        sizes = [p.numel() for p in model.parameters()]
        before, after = (
            dict(zip(names, of.split(sizes), strict=True))[f"{layer}.weight"].view_as(weight)
            for of in (gradient, of_layer)
        )
        torch.testing.assert_close(after, (before @ inputs / damped) @ inputs.T)
        assert int((of_layer != 0).sum()) <= weight.numel()


def test_sampled_labels_give_the_fisher():
    """With many sequences of one input, sampled labels give softmax regression's own Hessian."""
    model = Linear()
    data = sequences(0, 1, 600)
    factors = fit(model, data, 4000, seed=0)["layer"]
    # trace of the Fisher = tokens' mean of |x|² times the spread of the softmax
    batch = data.batch(slice(None))
    x = model.embedding[batch["input_ids"]][:, :-1]
    p = model.layer(x).softmax(-1)
    expected = ((1 + x.square().sum(-1)) * (1 - p.square().sum(-1))).mean().detach()
    assert float(factors.eigenvalues.sum()) == pytest.approx(float(expected), rel=0.05)
