r"""GradDot: dot product of the gradients of corpus and test subset at θ0.

.. math:: I(Z', Z) = \nabla L(Z; \theta_0) \cdot \nabla L(Z'; \theta_0)

with L in nats per token, so the unit is change in loss per unit of learning rate. To first order it
is UnTrac with one full-batch SGD step. The paper sums over examples; this averages over tokens. The
two rank corpora alike if all samples have the same number of tokens, which holds for packed
sequences but not for padded rows.

Source: baseline of Isonuma and Titov, ACL 2024, section 4; the product itself is that of
Charpiat et al., "Input Similarity from the Neural Network Perspective", NeurIPS 2019.
"""

from dataclasses import dataclass

from untrac_exp.methods.base import Influences, Method, Subject, score_table
from untrac_exp.methods.common.products import dot, products


@dataclass(frozen=True)
class GradDot(Method):
    """Dot product of gradients; no hyperparameters."""

    def influences(self, subject: Subject) -> Influences:
        values = products(subject, "products", dot, draws=False)
        return Influences(score_table(subject, values))
