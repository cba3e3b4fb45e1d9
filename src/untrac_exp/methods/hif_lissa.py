r"""HIF by LiSSA: influence functions with the inverse Hessian as a truncated Neumann series.

.. math::
    I(Z', Z) = \nabla L(Z)^\top (H + \lambda)^{-1} \nabla L(Z'), \qquad
    v_{j+1} = g + (1 - \delta) v_j - H_j v_j / \sigma, \qquad
    (H + \lambda)^{-1} g \approx v_T / \sigma

all at θ0, with H the Hessian of the mean training loss, :math:`H_j` its estimate from a fresh draw
of `samples` sequences, :math:`v_0 = g` and :math:`\lambda = \delta \sigma`. It is UnTrac with one
Newton step, to first order. The series converges while the eigenvalues of H lie between
:math:`-\lambda` and :math:`(2 - \delta) \sigma`; after few iterations it has turned mainly the
steepest directions, which is all that the paper's ten can do.

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

from untrac_exp.methods.base import Influences, Method, Subject, Tokens, Work, gradient_scores
from untrac_exp.methods.common.curvature import TrainingHessian
from untrac_exp.methods.common.products import dot, products
from untrac_exp.stages.hessian import largest_eigenvalue

log = logging.getLogger(__name__)

_POWER_ITERATIONS = 3
"""On each draw: near enough, for the series has room up to twice the scale."""


@dataclass(frozen=True)
class HifLissa(Method):
    """The series, and how far it is taken.

    iterations, samples: T, and sequences behind each step. damping: δ, a share of `scale`.
    scale: σ; null takes the largest eigenvalue of any draw of the series, as power iterations find
    it. One draw would not do: where rows are short they differ tenfold.
    repeats: series that are averaged, each over draws of its own.
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

        return Influences(gradient_scores(products(subject, "products", dot, solve)))

    def tokens(self, work: Work) -> Tokens:
        power = _POWER_ITERATIONS * self.iterations * self.repeats if self.scale is None else 0
        solved = min(len(work.corpora), len(work.subsets))
        multiplied = power + solved * self.repeats * self.iterations
        tokens = work.once + 2 * multiplied * work.drawn(self.samples)
        return Tokens(tokens, tokens)

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
                # while no step stretches v, it grows by at most the gradient's length
                if not v.norm() <= 1.01 * (j + 2) * bound:
                    raise ValueError(
                        f"hif_lissa diverges at iteration {j + 1}: raise method.scale (now "
                        f"{scale:.4g}) or method.damping (now {self.damping})"
                    )
            total += v / (self.repeats * scale)
        return total
