r"""Control: the loss of each corpus at θ0, the same for all test sets.

.. math:: I(Z', Z) = -L(Z; \theta_0)

in nats per token. A corpus that the model predicts well gets a high influence on everything. A
method that does not rank better than this has not read the test set.
"""

from dataclasses import dataclass

from untrac_exp.methods.base import Influences, Method, Subject, gradient_scores
from untrac_exp.methods.common.scores import EvaluationSet
from untrac_exp.methods.common.sizes import Sizes


@dataclass(frozen=True)
class CorpusLoss(Method):
    """Negative loss of the corpora."""

    def influences(self, subject: Subject) -> Influences:
        losses = EvaluationSet(subject.corpora).losses_at_theta0(subject)
        return Influences(
            gradient_scores(
                {
                    (corpus, subset): -at_theta0.mean
                    for subset in subject.subsets
                    for corpus, at_theta0 in losses.items()
                }
            )
        )

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        return sizes.corpus_tokens, 0
