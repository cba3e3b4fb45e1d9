"""What an objective is: asked once about θ0, then for the loss of every share of a batch."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.stages.unlearning import StepLoss


@dataclass(frozen=True)
class Unlearned:
    """What an objective may consult before the first step.

    theta0: the model, its weights still θ0's. data: the dataset to unlearn.
    others: the corpora to keep, by name (for a test set, all of them; for a corpus, the others).
    max_tokens: padded tokens that may be read at once. seed: for whatever is sampled.
    """

    theta0: PreTrainedModel
    data: Encoded
    others: dict[str, Encoded]
    max_tokens: int
    seed: int


class Objective(ABC):
    """An objective of unlearning, with its weights as fields."""

    @abstractmethod
    def prepare(self, unlearned: Unlearned) -> StepLoss:
        """Compute what it needs of θ0, once, and give the loss of a share."""
