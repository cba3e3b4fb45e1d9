r"""Gradient ascent on the forget-set loss, the objective of the paper.

Minimises :math:`-L(Z; \theta)`, so an SGD step is
:math:`\theta \leftarrow \theta + \eta \nabla L(Z; \theta)`, with L in nats per token. It needs no
retain set and adds no cost to a step.

Source: Isonuma and Titov, "Unlearning Traces the Influential Training Data of Language Models",
ACL 2024, section 3.
"""

from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.models.loss import mean_loss
from untrac_exp.objectives.base import Objective, ObjectiveInputs
from untrac_exp.stages.micro_batches import MicroBatch
from untrac_exp.stages.unlearning import StepLoss


def negative_loss(model: PreTrainedModel, micro_batch: MicroBatch) -> Tensor:
    """Return the micro-batch's share of the batch's negated loss per token, a scalar in nats."""
    return -mean_loss(model, micro_batch.inputs) * micro_batch.weight


@dataclass(frozen=True)
class Ascent(Objective):
    """Gradient ascent on the forget set, without a retain set."""

    def prepare(self, inputs: ObjectiveInputs) -> StepLoss:
        return negative_loss
