r"""GradDot: the dot product of the two datasets' gradients at θ0.

.. math:: I(Z', Z) = \nabla L(Z; \theta_0) \cdot \nabla L(Z'; \theta_0)

with L in nats per token, so the unit is the change of loss per unit of learning rate: it is UnTrac
with one SGD step over one full batch, to first order. The paper sums over examples where this
averages over tokens. The two differ by a factor that is the same for all corpora only where these
are sampled to as many tokens, as packed sequences are. Padded rows are not.

Source: baseline of Isonuma and Titov, ACL 2024, section 4; the product itself is that of
Charpiat et al., "Input Similarity from the Neural Network Perspective", NeurIPS 2019.
"""

from dataclasses import dataclass

from untrac_exp.methods.base import Influences, Method, Subject, Tokens, Work, gradient_scores
from untrac_exp.methods.common.products import dot, products


@dataclass(frozen=True)
class GradDot(Method):
    """Needs no setting."""

    def influences(self, subject: Subject) -> Influences:
        return Influences(gradient_scores(products(subject, "products", dot, draws=False)))

    def tokens(self, work: Work) -> Tokens:
        return Tokens(work.once, work.once)
