r"""HIF with Arnoldi: influence functions with the Hessian projected onto a Krylov space.

.. math::
    I(Z', Z) = \frac{\nabla L(Z)^\top}{\|\nabla L(Z)\|} \, R \, (\Lambda + \lambda)^{-1} R^\top
    \, \nabla L(Z'), \qquad Q^\top H Q = T, \quad T \approx V \Lambda V^\top, \quad R = Q V

all at θ0, with H (P, P) the Hessian of the training loss per token and Q (P, `iterations`) an
orthonormal basis of the Krylov space that starts at a random vector. Of the eigenpairs of T, the
`keep` largest in absolute value are kept. Each Hessian-vector product uses a new sample of
`samples` sequences, so T is symmetrised. The gradients of the corpora are normalised to length 1.

Source: Schioppa et al., "Scaling Up Influence Functions", AAAI 2022; baseline of Isonuma and
Titov, ACL 2024, section 4.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from untrac_exp.methods.base import Influences, Method, Subject, score_table
from untrac_exp.methods.common.curvature import TrainingHessian
from untrac_exp.methods.common.krylov import krylov
from untrac_exp.methods.common.products import dot, products
from untrac_exp.methods.common.sizes import Sizes


@dataclass(frozen=True)
class HifArnoldi(Method):
    """Influence functions in a Krylov space.

    Args:
        iterations: dimension of the Krylov space, one Hessian-vector product each.
        keep: number of eigenpairs kept, at most `iterations`.
        samples: sequences per Hessian-vector product.
        damping: λ as a fraction of the largest absolute eigenvalue; the source has none.
        basis: dtype in which Q is stored on disk: bfloat16, float32 or float64.

    Raises:
        ValueError: an argument is out of range.
    """

    iterations: int = 200
    keep: int = 100
    samples: int = 256
    damping: float = 0.0
    basis: str = "float32"

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= self.iterations:
            raise ValueError(
                f"method.keep={self.keep} must lie between 1 and method.iterations="
                f"{self.iterations}"
            )
        if self.damping < 0:
            raise ValueError(f"method.damping={self.damping} must not be negative")
        if self.basis not in ("bfloat16", "float32", "float64"):
            raise ValueError(
                f"method.basis='{self.basis}' is unknown; use bfloat16, float32 or float64"
            )

    def influences(self, subject: Subject) -> Influences:
        hessian = TrainingHessian(subject, self.samples)
        start = hessian.random_vector()
        n = min(self.iterations, len(start))
        with krylov(n, len(start), getattr(torch, self.basis)) as space:
            inner: list[Tensor] = []

            def solve(gradient: Tensor) -> Tensor:
                if not inner:  # lazy: a job whose parts are stored builds no space
                    inner.append(self._inverse(space.build(start, hessian.draws())).to(gradient))
                return space.combine(inner[0] @ space.coordinates(gradient), gradient)

            values = products(subject, "products", dot, solve, normalised=True)
        return Influences(score_table(subject, values))

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        tokens = sizes.tokens + 2 * self.iterations * sizes.tokens_of(self.samples)
        return tokens, tokens

    def _inverse(self, projected: np.ndarray) -> Tensor:
        """Return V (Λ + λ)^-1 V' (n, n) over the kept eigenpairs of T (n, n)."""
        values, vectors = scipy.linalg.eigh((projected + projected.T) / 2)
        largest = abs(values).max()
        kept = np.argsort(-abs(values))[: self.keep]
        damped = values[kept] + self.damping * largest
        known = abs(damped) > 1e-7 * largest  # smaller ones are rounding errors
        chosen = vectors[:, kept[known]]
        return torch.from_numpy(chosen / damped[known] @ chosen.T)
