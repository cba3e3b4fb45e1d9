r"""HIF with the Hessian of the token embeddings, approximated by token frequencies.

.. math::
    I(Z', Z) = \sum_{w} \frac{1}{f_w}
        \left\langle \nabla_{E_w} L(Z; \theta_0), \nabla_{E_w} L(Z'; \theta_0) \right\rangle

over the tokens w of the vocabulary, with :math:`E_w` the rows of the input and output embeddings
and :math:`f_w` the frequency of w in the corpora, see `common.frequency`. So it is GradDot on the
embeddings in which a token counts by the share that a corpus has in it, not by how often it occurs:
what many corpora teach is lost with none of them. L is in nats per token. A pass costs as much as
GradDot's.

Source: influence functions of Koh and Liang, "Understanding Black-box Predictions via Influence
Functions", ICML 2017; gradients of embeddings alone as in Yeh et al., "First is Better Than Last
for Language Data Influence", NeurIPS 2022. The frequencies are this project's.
"""

from dataclasses import dataclass, field

from torch import Tensor

from untrac_exp.methods.base import Influences, Method, Subject, gradient_scores
from untrac_exp.methods.common.frequency import check_embeddings, inverse_frequency
from untrac_exp.methods.common.products import dot, products
from untrac_exp.models.weights import EMBEDDINGS


@dataclass(frozen=True)
class HifFrequency(Method):
    """Influence function on the token embeddings.

    Args:
        damping: fraction of the mean frequency 1 / V that is added to every token's.

    Raises:
        ValueError: `damping` is not positive, or `weights` are not the embeddings.
    """

    damping: float = 0.01
    weights: str = field(default=EMBEDDINGS, kw_only=True)

    def __post_init__(self) -> None:
        check_embeddings(self.weights, self.damping)

    def influences(self, subject: Subject) -> Influences:
        inverse = inverse_frequency(subject, self.damping)

        def solve(vector: Tensor) -> Tensor:
            return inverse.to(vector) * vector

        reads = {"trained on": subject.trained_on.values()}
        values = products(subject, "products", dot, solve, draws=False, solve_reads=reads)
        return Influences(gradient_scores(values))
