r"""GradCos: cosine similarity of the gradients of corpus and test subset at θ0.

.. math:: I(Z', Z) = \frac{\nabla L(Z; \theta_0) \cdot \nabla L(Z'; \theta_0)}
                          {\|\nabla L(Z; \theta_0)\| \; \|\nabla L(Z'; \theta_0)\|}

dimensionless, between -1 and 1. It is GradDot with both gradients normalised. To first order it is
UnTrac with one step of fixed length.

Source: baseline of Isonuma and Titov, ACL 2024, section 4; the cosine itself is that of
Charpiat et al., "Input Similarity from the Neural Network Perspective", NeurIPS 2019.
"""

from dataclasses import dataclass

from torch import Tensor

from untrac_exp.methods.base import Influences, Method, Subject, score_table
from untrac_exp.methods.common.products import dot, products


def cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine of two vectors (P,), accumulated in float64; 0 if either is 0."""
    lengths = (dot(a, a) * dot(b, b)) ** 0.5
    return dot(a, b) / lengths if lengths > 0 else 0.0


@dataclass(frozen=True)
class GradCos(Method):
    """Cosine similarity of gradients; no hyperparameters."""

    def influences(self, subject: Subject) -> Influences:
        values = products(subject, "products", cosine, draws=False)
        return Influences(score_table(subject, values))
