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
from functools import partial
from typing import ClassVar

from untrac_exp.methods.base import Influences, Method, Subject, Subset, Tokens, Work
from untrac_exp.methods.common.retain import retain_of_forgotten
from untrac_exp.methods.common.watch import Panel, Unlearn


@dataclass(frozen=True)
class UnTrac(Unlearn, Method):
    """Unlearns corpora; the paper uses batches of one and one epoch."""

    rate_key: ClassVar[str] = "untrac"

    def influences(self, subject: Subject) -> Influences:
        apart = retain_of_forgotten(subject, self.objective.held)
        panel = Panel(subject.subsets)
        record = self.record(subject, panel, apart.warnings)
        runs = {}
        for corpus, data in subject.corpora.items():
            retain = {name: held for name, held in apart.retain.items() if name != corpus}
            runs[corpus] = self.watch(subject, corpus, data, panel, retain)
        for corpus, seen in subject.parts(runs, "untrac: corpora unlearned").items():
            record.add(corpus, seen, partial(_cell, corpus))
        return record.influences()

    def tokens(self, work: Work) -> Tokens:
        return self.reads(work.corpora.values(), work.subsets.values())

    def apart(self, work: Work) -> int:
        return len(work.corpora)


def _cell(corpus: str, subset: Subset) -> tuple[str, Subset]:
    return corpus, subset
