r"""UnTrac-Inv: unlearn each test subset and evaluate the training corpora.

.. math::
    I(Z', Z) = L(Z; \theta'_T) - L(Z; \theta_0), \qquad
    \theta'_{t+1} = \theta'_t + \eta_t \nabla L(Z'; \theta'_t)

with one unlearning run of T steps per test subset Z', which evaluates all corpora Z. L is in nats
per token. For one full-batch SGD step it equals UnTrac to first order. An additional corpus adds
evaluations to each run, while it adds an unlearning run to UnTrac.

Source: Isonuma and Titov, "Unlearning Traces the Influential Training Data of Language Models",
ACL 2024, section 3.2.
"""

from dataclasses import dataclass

from untrac_exp.methods.base import Influences, Subject, Subset
from untrac_exp.methods.common.retain import retain_of_read
from untrac_exp.methods.common.scores import EvaluationSet
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.methods.common.unlearn import UnlearningMethod, UnlearningRun


@dataclass(frozen=True)
class UnTracInv(UnlearningMethod):
    """Unlearns test subsets; the paper uses full batches (256) and five steps."""

    def influences(self, subject: Subject) -> Influences:
        retain, warnings = retain_of_read(subject) if self.objective.retains else ({}, [])
        runs: dict[str | Subset, UnlearningRun] = {
            subset: UnlearningRun(data, retain) for subset, data in subject.subsets.items()
        }
        evaluated = EvaluationSet(subject.corpora)
        return self.changes_by_unlearning("untrac_inv", subject, runs, evaluated, warnings)

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        return self.reads(sizes.subsets.values(), sizes.corpora.values())
