r"""HIF by EK-FAC: influence functions with the Fisher of every linear layer for the Hessian.

.. math::
    I(Z', Z) = \sum_l \langle \nabla_l L(Z), \; Q^G_l \left[ \left( (Q^G_l)^\top \nabla_l L(Z')
    Q^A_l \right) \oslash (\Lambda_l + \delta \bar\Lambda_l) \right] (Q^A_l)^\top \rangle

at θ0, over the linear layers l, with :math:`\nabla_l L` a layer's gradient as a matrix (out, in and
bias), Q the eigenvectors of the covariances of the layer's output gradients (G) and inputs (A), and
Λ the second moments of the training sequences' gradients in that basis. L is in nats per token, and
so is Λ: it stands for the Hessian that LiSSA and Arnoldi approximate.

Embeddings, norms and the output embedding are left out, as the source does: they have no such
factors. kronfluence fits the factors; datasets' gradients are this project's own.

Source: George et al., "Fast Approximate Natural Gradient Descent in a Kronecker-factored
Eigenbasis", NeurIPS 2018; for influence Grosse et al., "Studying Large Language Model
Generalization with Influence Functions", 2023, whose damping δ = 0.1 is the default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.methods.base import Influences, Method, Subject, Tokens, Work, gradient_scores
from untrac_exp.methods.common.curvature import TrainingHessian
from untrac_exp.methods.common.products import dot, products
from untrac_exp.stages.ekfac import Factors, fit


@dataclass(frozen=True)
class HifEkfac(Method):
    """How the Fisher is fitted and inverted.

    samples: training sequences behind the factors. damping: δ, a share of a layer's mean
    eigenvalue.
    """

    samples: int = 4096
    damping: float = 0.1

    def __post_init__(self) -> None:
        if self.damping <= 0:
            raise ValueError(f"method.damping={self.damping} must be positive")
        if find_spec("kronfluence") is None:
            raise ValueError("method=hif_ekfac needs kronfluence: pip install 'untrac-exp[ekfac]'")

    def influences(self, subject: Subject) -> Influences:
        data = next(TrainingHessian(subject, self.samples).data())
        factors: dict[str, Factors] = {}

        def solve(gradient: Tensor) -> Tensor:
            if not factors:  # only now, so that a finished job fits nothing
                subject.meter.backward(2 * data.read)
                factors.update(fit(subject.model, data, subject.max_tokens, subject.seed))
            return precondition(subject.model, gradient, factors, self.damping)

        return Influences(gradient_scores(products(subject, "products", dot, solve)))

    def tokens(self, work: Work) -> Tokens:
        tokens = work.once + 2 * work.drawn(self.samples)
        return Tokens(tokens, tokens)


def precondition(
    model: PreTrainedModel, gradient: Tensor, factors: Mapping[str, Factors], damping: float
) -> Tensor:
    """A gradient (P,) times the damped inverse of the Fisher; 0 where there are no factors."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    pieces = dict(zip(trained, gradient.split([p.numel() for p in trained.values()]), strict=True))
    solved = {name: torch.zeros_like(piece) for name, piece in pieces.items()}
    for layer, (outputs, inputs, eigenvalues) in factors.items():
        outputs, inputs, eigenvalues = (
            factor.to(gradient) for factor in (outputs, inputs, eigenvalues)
        )
        names = [name for name in (f"{layer}.weight", f"{layer}.bias") if name in pieces]
        matrix = torch.cat([pieces[name].view(len(outputs), -1) for name in names], 1)
        inner = outputs.T @ matrix @ inputs / (eigenvalues + damping * eigenvalues.mean())
        parts = (outputs @ inner @ inputs.T).split(
            [matrix.shape[1] - len(names) + 1, 1][: len(names)], 1
        )
        for name, part in zip(names, parts, strict=True):
            solved[name] = part.flatten()
    return torch.cat(list(solved.values()))
