r"""Control: the loss of each corpus at θ0, the same for all test sets.

.. math:: I(Z', Z) = -L(Z; \theta_0)

in nats per token. A corpus that the model predicts well gets a high influence on everything. A
method that does not rank better than this has not read the test set.
"""

from dataclasses import dataclass

import numpy as np

from untrac_exp.methods.base import Influences, Method, Subject, score_table
from untrac_exp.methods.common.scores import EvaluationSet
from untrac_exp.methods.common.sizes import Sizes


@dataclass(frozen=True)
class CorpusLoss(Method):
    """Negative loss of the corpora."""

    def influences(self, subject: Subject) -> Influences:
        losses = EvaluationSet(subject.corpora).losses_at_theta0(subject)
        of_corpora = [-at_theta0.mean for at_theta0 in losses.values()]
        return Influences(score_table(subject, np.outer(of_corpora, np.ones(len(subject.subsets)))))

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        return sizes.corpus_tokens, 0
