r"""HIF with LiSSA: influence functions with the inverse Hessian by a truncated Neumann series.

.. math::
    I(Z', Z) = \nabla L(Z)^\top (H + \lambda)^{-1} \nabla L(Z'), \qquad
    v_{j+1} = g + (1 - \delta) v_j - H_j v_j / \sigma, \qquad
    (H + \lambda)^{-1} g \approx v_T / \sigma

all at θ0, with H (P, P) the Hessian of the training loss per token, :math:`H_j` its estimate from a
new sample of `samples` sequences, :math:`v_0 = g` and :math:`\lambda = \delta \sigma`. To first
order it is UnTrac with one Newton step. The series converges if the eigenvalues of H lie between
:math:`-\lambda` and :math:`(2 - \delta) \sigma`. With few iterations, such as the paper's ten, it
mainly rescales the directions of largest curvature.

Source: Agarwal et al., "Second-Order Stochastic Optimization for Machine Learning in Linear Time",
JMLR 2017; as used for influence by Koh and Liang, "Understanding Black-box Predictions via
Influence Functions", ICML 2017; baseline of Isonuma and Titov, ACL 2024, section 4.
"""

import logging
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from untrac_exp.methods.base import Influences, Method, Subject, score_table
from untrac_exp.methods.common.curvature import TrainingHessian
from untrac_exp.methods.common.products import dot, products
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.stages.hessian import largest_eigenvalue

log = logging.getLogger(__name__)

_POWER_ITERATIONS = 3
"""Per sample; a rough estimate suffices, since the series converges up to about twice the scale."""


@dataclass(frozen=True)
class HifLissa(Method):
    """Influence functions with LiSSA.

    Args:
        iterations: T, number of terms of the series.
        samples: sequences per Hessian-vector product.
        damping: δ, as a fraction of `scale`, at least 0 and below 1.
        scale: σ; None takes the largest eigenvalue over all samples of the series, estimated by
            power iteration. For short rows it can differ tenfold between samples.
        repeats: number of series that are averaged, each with its own samples.

    Raises:
        ValueError: an argument is out of range.
    """

    iterations: int = 10
    samples: int = 256
    damping: float = 0.01
    scale: float | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        for name in ("iterations", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"method.{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.damping < 1:
            raise ValueError(f"method.damping={self.damping} must be at least 0 and below 1")
        if self.scale is not None and self.scale <= 0:
            raise ValueError(f"method.scale={self.scale} must be positive, or null to estimate it")

    def influences(self, subject: Subject) -> Influences:
        hessian = TrainingHessian(subject, self.samples)
        scale = self.scale or self._largest_eigenvalue(hessian)

        def solve(gradient: Tensor) -> Tensor:
            return self._solve(hessian, scale, gradient)

        values = products(subject, "products", dot, solve)
        return Influences(score_table(subject, values))

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        power = _POWER_ITERATIONS * self.iterations * self.repeats if self.scale is None else 0
        solved = min(len(sizes.corpora), len(sizes.subsets))
        multiplied = power + solved * self.repeats * self.iterations
        tokens = sizes.tokens + 2 * multiplied * sizes.tokens_of(self.samples)
        return tokens, tokens

    def _largest_eigenvalue(self, hessian: TrainingHessian) -> float:
        def compute() -> dict[str, np.ndarray]:
            start = hessian.random_vector()
            sizes = [
                largest_eigenvalue(draw, start, _POWER_ITERATIONS)
                for draw in islice(hessian.draws(), self.iterations * self.repeats)
            ]
            return {"scale": np.max(sizes)}

        reads = {"corpora": hessian.subject.corpora.values()}
        scale = float(hessian.subject.part("scale", compute, reads)["scale"])
        if not 0 < scale < float("inf"):
            raise ValueError(f"the Hessian's largest eigenvalue is {scale}; give method.scale")
        log.info("method.scale is null: the Hessian's largest eigenvalue, about %.4g", scale)
        return scale

    def _solve(self, hessian: TrainingHessian, scale: float, gradient: Tensor) -> Tensor:
        draws = hessian.draws()
        bound = gradient.norm()
        total = torch.zeros_like(gradient)
        for _ in range(self.repeats):
            v = gradient
            for j in range(self.iterations):
                v = gradient + (1 - self.damping) * v - next(draws)(v) / scale
                # if the series converges, each step adds at most the gradient's norm
                if not v.norm() <= 1.01 * (j + 2) * bound:
                    raise ValueError(
                        f"hif_lissa diverges at iteration {j + 1}: raise method.scale (now "
                        f"{scale:.4g}) or method.damping (now {self.damping})"
                    )
            total += v / (self.repeats * scale)
        return total
