r"""Gradient ascent with the KL divergence from θ0's predictions on the retain set.

.. math::
    -L(Z; \theta) + w \; \frac{1}{|A|} \sum_{x \in A}
    \mathrm{KL}\big(p_{\theta_0}(\cdot \mid x) \,\|\, p_\theta(\cdot \mid x)\big)

A is the set of predicted tokens in `batch_size` sequences of the retain set. Each step takes the
next sequences from a shuffled pool of `examples` per corpus.

**Cost.** Each step reads `batch_size` more sequences, in addition to `trainer.max_tokens`, with the
model and forward with θ0. Memory: one more copy of the model.

Source: the KL term of Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", COLM 2024,
after Yao, Xu and Liu, "Large Language Model Unlearning", 2023.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.models.loss import logits_and_labels
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.objectives.base import Objective, ObjectiveInputs, check_not_negative
from untrac_exp.stages.micro_batches import MicroBatch
from untrac_exp.stages.unlearning import StepLoss


@dataclass(frozen=True)
class KL(Objective):
    """Gradient ascent with a KL term on the retain set.

    Args:
        weight: weight w of the KL divergence; divergence and loss are in nats per token.
        examples: largest number of retain-set sequences per corpus.
        batch_size: number of retain-set sequences per step.

    Raises:
        ValueError: `weight` is negative, or another argument is below 1.
    """

    weight: float = 10.0
    examples: int = 64
    batch_size: int = 4

    def __post_init__(self) -> None:
        check_not_negative("weight", self.weight)
        for name in ("examples", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"objective.{name}={getattr(self, name)} must be at least 1")

    @property
    def retains(self) -> bool:
        return True

    def prepare(self, inputs: ObjectiveInputs) -> StepLoss:
        if not inputs.retain_set:
            raise ValueError(
                "objective=kl needs a retain set, and no sequence that is neither unlearned nor "
                "evaluated is left for it; give at least two corpora and more texts, or use "
                "objective=npo"
            )
        theta0 = copy.deepcopy(inputs.theta0).requires_grad_(False)
        pool = Encoded.concatenate(
            [data.sample(self.examples, inputs.seed) for data in inputs.retain_set.values()]
        )
        order = pool.order(inputs.seed)
        n = min(self.batch_size, len(order))
        scored = pool.scored

        def loss(model: PreTrainedModel, micro_batch: MicroBatch) -> Tensor:
            ascent = negative_loss(model, micro_batch)
            batch = order[(micro_batch.step * n + torch.arange(n)) % len(order)]
            indices = batch.tensor_split(micro_batch.parts)[micro_batch.part]
            if not len(indices):  # fewer sequences than micro-batches
                return ascent
            weight = self.weight * micro_batch.parts / int(scored[batch].sum())
            retained = pool.batch(indices)
            inputs.meter.forward(pool.select(indices).read)
            inputs.meter.backward(pool.select(indices).read)
            return ascent + weight * divergence(theta0, model, retained)

        return loss


def divergence(theta0: PreTrainedModel, model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Return KL(θ0 || model) on a batch, in nats, summed over its scored tokens."""
    with torch.no_grad():
        reference, labels = logits_and_labels(theta0, batch)
    logits, _ = logits_and_labels(model, batch)
    is_scored = labels != IGNORED
    log_p, log_q = (_log_probabilities(of[is_scored]) for of in (reference, logits))
    return F.kl_div(log_q, log_p, log_target=True, reduction="sum")


def _log_probabilities(logits: Tensor) -> Tensor:
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)
