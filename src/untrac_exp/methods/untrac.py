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

from untrac_exp.methods.base import Influences, Method, Subject, Subset, Tokens, Work
from untrac_exp.methods.common.retain import retain_of_forgotten
from untrac_exp.methods.common.scores import Panel
from untrac_exp.methods.common.watch import Run, Unlearn


@dataclass(frozen=True)
class UnTrac(Unlearn, Method):
    """Unlearns corpora; the paper uses batches of one and one epoch."""

    def influences(self, subject: Subject) -> Influences:
        apart = retain_of_forgotten(subject, self.objective.held)
        runs: dict[str | Subset, Run] = {}
        for corpus, data in subject.corpora.items():
            runs[corpus] = data, {name: one for name, one in apart.retain.items() if name != corpus}
        return self.unlearned("untrac", subject, runs, Panel(subject.subsets), apart.warnings)

    def tokens(self, work: Work) -> Tokens:
        return self.reads(work.corpora.values(), work.subsets.values())

    def apart(self, work: Work) -> int:
        return len(work.corpora)
