r"""UnTrac: unlearn each training corpus and evaluate the test sets.

.. math::
    I(Z', Z) = L(Z'; \theta_T) - L(Z'; \theta_0), \qquad
    \theta_{t+1} = \theta_t + \eta_t \nabla L(Z; \theta_t)

with one unlearning run of T steps per corpus Z, which evaluates all test subsets Z'. L is in nats
per token. Any optimizer can replace the SGD step shown here.

Source: Isonuma and Titov, "Unlearning Traces the Influential Training Data of Language Models",
ACL 2024, section 3.1.
"""

from dataclasses import dataclass

from untrac_exp.methods.base import Influences, Subject, Subset
from untrac_exp.methods.common.retain import retain_of_forgotten
from untrac_exp.methods.common.scores import EvaluationSet
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.methods.common.unlearn import UnlearningMethod, UnlearningRun


@dataclass(frozen=True)
class UnTrac(UnlearningMethod):
    """Unlearns corpora; the paper uses batches of one and one epoch."""

    def influences(self, subject: Subject) -> Influences:
        retain, warnings = retain_of_forgotten(subject) if self.objective.retains else ({}, [])
        runs: dict[str | Subset, UnlearningRun] = {}
        for corpus, data in subject.corpora.items():
            if subject.only not in (None, corpus):
                continue
            others = {name: kept for name, kept in retain.items() if name != corpus}
            runs[corpus] = UnlearningRun(data, others)
        evaluated = EvaluationSet(subject.subsets)
        return self.changes_by_unlearning("untrac", subject, runs, evaluated, warnings)

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        return self.reads(sizes.corpora.values(), sizes.subsets.values())
