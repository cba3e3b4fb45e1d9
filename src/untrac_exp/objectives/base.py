"""Interface of unlearning objectives: `prepare` runs once at θ0 and returns the step loss."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.runtime.cost import Meter
from untrac_exp.stages.unlearning import StepLoss


@dataclass(frozen=True)
class ObjectiveInputs:
    """Inputs of an objective before the first unlearning step.

    Attributes:
        theta0: the model with weights θ0.
        forget_set: the dataset to unlearn.
        retain_set: sequences by corpus name, of all corpora if a test subset is unlearned, and of
            the other corpora if a corpus is. The method evaluates none of them.
        max_tokens: maximum number of tokens per micro-batch, including padding.
        seed: seed for sampling.
        meter: counts tokens processed in addition to the forget-set batches.
    """

    theta0: PreTrainedModel
    forget_set: Encoded
    retain_set: dict[str, Encoded]
    max_tokens: int
    seed: int
    meter: Meter = field(default_factory=Meter)


class Objective(ABC):
    """An unlearning objective; its fields are its hyperparameters."""

    @property
    def retains(self) -> bool:
        """Whether the objective uses a retain set."""
        return False

    @abstractmethod
    def prepare(self, inputs: ObjectiveInputs) -> StepLoss:
        """Compute the quantities that depend on θ0 and return the loss of the steps.

        Args:
            inputs: the model at θ0, the forget set and the retain set.

        Returns:
            The loss to minimise, a function of the model and a micro-batch. Its values over the
            micro-batches of a batch average to the batch's objective, in nats per token.

        Raises:
            ValueError: the retain set is empty and the objective needs one.
        """


def check_not_negative(key: str, value: float) -> None:
    """Raise `ValueError` if a hyperparameter of an objective is negative."""
    if value < 0:
        raise ValueError(f"objective.{key}={value} must not be negative (0 is plain ascent)")
