r"""HIF with EK-FAC: influence functions with the Fisher of each linear layer for the Hessian.

.. math::
    I(Z', Z) = \sum_l \langle \nabla_l L(Z), \; Q^G_l M_l (Q^A_l)^\top \rangle,
    \qquad M_l = \left( (Q^G_l)^\top \nabla_l L(Z') Q^A_l \right) \oslash
    (\Lambda_l + \delta \bar\Lambda_l)

at θ0, over the linear layers and embeddings l, with :math:`\nabla_l L` (out, in + 1) a layer's
gradient including its bias, Q the eigenvectors of the covariances of the layer's output gradients
(G) and inputs (A), and Λ (out, in + 1) the second moments of the training sequences' gradients in
that basis. L is in nats per token and Λ is scaled accordingly: it approximates the Hessian of LiSSA
and Arnoldi.

Norms are left out, as in the source, and with `embeddings: false` those of tokens and positions and
the output embedding, too.

Source: George et al., "Fast Approximate Natural Gradient Descent in a Kronecker-factored
Eigenbasis", NeurIPS 2018; for influence Grosse et al., "Studying Large Language Model
Generalization with Influence Functions", 2023, whose damping δ = 0.1 is the default.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.methods.base import Influences, Method, Subject, score_table
from untrac_exp.methods.common.curvature import TrainingHessian
from untrac_exp.methods.common.products import dot, products
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.stages.ekfac import Factors, fit, fit_embeddings


@dataclass(frozen=True)
class HifEkfac(Method):
    """Influence functions with EK-FAC.

    Args:
        samples: training sequences to which the factors are fitted.
        damping: δ, as a fraction of a layer's mean eigenvalue.
        embeddings: whether to include the embeddings.

    Raises:
        ValueError: `damping` is not positive.
    """

    samples: int = 4096
    damping: float = 0.1
    embeddings: bool = True

    def __post_init__(self) -> None:
        if self.damping <= 0:
            raise ValueError(f"method.damping={self.damping} must be positive")

    def influences(self, subject: Subject) -> Influences:
        data = next(TrainingHessian(subject, self.samples).data())
        factors: dict[str, Factors] = {}

        def solve(gradient: Tensor) -> Tensor:
            if not factors:  # lazy: a job whose parts are stored fits nothing
                subject.meter.backward(2 * data.read)
                factors.update(fit(subject.model, data, subject.max_tokens, subject.seed))
                if self.embeddings:
                    subject.meter.backward(2 * data.read)
                    factors.update(fit_embeddings(subject.model, data, subject.seed))
            return precondition(subject.model, gradient, factors, self.damping)

        values = products(subject, "products", dot, solve)
        return Influences(score_table(subject, values))

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        tokens = sizes.tokens + (2 + 2 * self.embeddings) * sizes.tokens_of(self.samples)
        return tokens, tokens


def precondition(
    model: PreTrainedModel, gradient: Tensor, factors: Mapping[str, Factors], damping: float
) -> Tensor:
    """Multiply a gradient (P,) by the damped inverse Fisher; 0 for parameters without factors."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    pieces = dict(zip(trained, gradient.split([p.numel() for p in trained.values()]), strict=True))
    solved = {name: torch.zeros_like(piece) for name, piece in pieces.items()}
    for layer, (outputs, inputs, eigenvalues) in factors.items():
        inputs, eigenvalues = inputs.to(gradient), eigenvalues.to(gradient)
        names = [name for name in (f"{layer}.weight", f"{layer}.bias") if name in pieces]
        names = names[:1] if outputs is None else names
        matrix = torch.cat([pieces[name].view(len(eigenvalues), -1) for name in names], 1)
        inner = matrix @ inputs
        damped = eigenvalues + damping * eigenvalues.mean()
        if outputs is None:
            inner = inner / damped
        else:
            outputs = outputs.to(gradient)
            inner = outputs @ ((outputs.T @ inner) / damped)
        parts = (inner @ inputs.T).split([matrix.shape[1] - len(names) + 1, 1][: len(names)], 1)
        for name, part in zip(names, parts, strict=True):
            solved[name] = part.flatten()
    return torch.cat(list(solved.values()))
