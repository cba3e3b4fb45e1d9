"""Dense derivatives of a tiny model's loss, with the loss written out anew."""

import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from untrac_exp.data.encoding import Encoded


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def loss_of(model, data):
    """The loss per token of a whole dataset as a function of all parameters (P,) at once."""
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    sizes = [p.numel() for p in model.parameters()]
    batch = data.batch(slice(None))
    labels = batch["labels"] if data.seq2seq else batch["labels"][:, 1:]

    def loss(theta):
        parts = [v.view(s) for v, s in zip(theta.split(sizes), shapes, strict=True)]
        weights = dict(zip(names, parts, strict=True))
        with sdpa_kernel(SDPBackend.MATH):
            logits = functional_call(model, weights, (), batch, tie_weights=True).logits
        logits = logits if data.seq2seq else logits[:, :-1]
        chosen = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        return -chosen[labels >= 0].mean()

    return loss


def gradient(model, data):
    theta = flat(model).requires_grad_()
    return torch.autograd.grad(loss_of(model, data)(theta), theta)[0]


def hessian(model, data):
    return torch.autograd.functional.hessian(loss_of(model, data), flat(model), vectorize=True)


def mixture(subject):
    return Encoded.concatenate(list(subject.corpora.values()))


def influences(subject, matrix, normalised=False):
    """{(corpus, *subset): g' matrix h}, both gradients taken over all of their data at once."""
    found = {}
    for corpus, data in subject.corpora.items():
        g = gradient(subject.model, data)
        g = g / g.norm() if normalised else g
        for subset, other in subject.subsets.items():
            found[corpus, *subset] = float(g @ matrix @ gradient(subject.model, other))
    return found


def scores(answer):
    """A method's answer in the same shape."""
    return answer.scores.set_index(["corpus", "testset", "subset"])["influence"].to_dict()


def error(found, expected):
    """Largest difference relative to the largest expected value."""
    assert found.keys() == expected.keys()
    return max(abs(found[k] - expected[k]) for k in expected) / max(map(abs, expected.values()))
