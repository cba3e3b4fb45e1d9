r"""TracIn: dot product of the gradients of corpus and test subset, summed over checkpoints.

.. math:: I(Z', Z) = \sum_t \eta_t \, \nabla L(Z; \theta_t) \cdot \nabla L(Z'; \theta_t)

over the checkpoints saved during pretraining, L in nats per token. η_t is the sum of the learning
rates of the steps since the checkpoint before, so each step counts by its rate wherever the
checkpoints lie. The sum is, to first order, the decrease of the loss on Z' by SGD steps on Z alone.

Source: Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent",
NeurIPS 2020 (TracInCP); baseline of Isonuma and Titov, ACL 2024, section 4.
"""

from dataclasses import dataclass

from untrac_exp.methods.base import Influences, Method, Subject, score_table
from untrac_exp.methods.common.products import dot, products
from untrac_exp.methods.common.sizes import Sizes


@dataclass(frozen=True)
class TracIn(Method):
    """GradDot over checkpoints; `pretraining.checkpoint_every` sets which ones are saved."""

    def influences(self, subject: Subject) -> Influences:
        if not subject.checkpoints:
            raise ValueError(
                "method=tracin needs checkpoints of the model's own training and there are none; "
                "set pretraining.checkpoint_every to at most pretraining.steps, or, for a model "
                "trained elsewhere, use method=graddot"
            )
        values = products(subject, "products", dot, weights=subject.checkpoints, draws=False)
        return Influences(score_table(subject, values))

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        tokens = sizes.checkpoints * sizes.tokens
        return tokens, tokens
