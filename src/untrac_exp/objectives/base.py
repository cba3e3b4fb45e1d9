"""What an objective is: asked once about θ0, then for the loss of every micro-batch of a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

from untrac_exp.cost import Meter
from untrac_exp.data.encoding import Encoded
from untrac_exp.stages.unlearning import StepLoss

References = dict[str, Any]
"""What an objective has found out about θ0 on each corpus, by the corpus' name."""


@dataclass(frozen=True)
class Unlearned:
    """What an objective may consult before the first step.

    Attributes:
        theta0: the model, its weights still θ0's.
        data: the dataset to unlearn.
        retain: the retain set, sequences of the corpora to keep by name (for a test set, all
            corpora; for a corpus, the other ones). The method reads none of them.
        max_tokens: padded tokens that may be read at once.
        seed: for whatever is sampled.
        references: shared by the runs of a job, which all start at the same θ0.
        meter: counts what an objective reads beyond the batches that are unlearned.
    """

    theta0: PreTrainedModel
    data: Encoded
    retain: dict[str, Encoded]
    max_tokens: int
    seed: int
    references: References = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)

    def of_retain(self, compute: Callable[[Encoded], Any]) -> list[Any]:
        """`compute`'s answer about each corpus of the retain set, found once a job and kept."""
        for name, corpus in self.retain.items():
            if name not in self.references:
                self.references[name] = compute(corpus)
        return [self.references[name] for name in self.retain]


class Objective(ABC):
    """An objective of unlearning, with its weights as fields."""

    @property
    def held(self) -> int:
        """Sequences of each corpus that it takes of the retain set; 0 if it has no use for one."""
        return 0

    @abstractmethod
    def prepare(self, unlearned: Unlearned) -> StepLoss:
        """Compute what is needed of θ0, once.

        Args:
            unlearned: the model at θ0, the dataset to unlearn and the retain set.

        Returns:
            The loss that the steps minimise, a function of the model and of a micro-batch.

        Raises:
            ValueError: there is no retain set, and the objective needs one.
        """


def check_not_negative(key: str, value: float) -> None:
    """Raise `ValueError` for a negative weight of an objective."""
    if value < 0:
        raise ValueError(f"objective.{key}={value} must not be negative (0 is plain ascent)")


def check_retain(kind: str, retain: dict[str, Encoded]) -> None:
    """Raise `ValueError` where an objective has nothing to hold on to."""
    if not retain:
        raise ValueError(
            f"objective={kind} holds on to the other corpora and there is nothing of them that is "
            "not read; give at least two corpora and more texts, or use objective=npo"
        )
