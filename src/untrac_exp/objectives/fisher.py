r"""Gradient ascent with a Fisher-weighted L2 penalty towards θ0 (elastic weight consolidation).

.. math::
    -L(Z; \theta) + \frac{w}{2} \sum_p (F_p + \delta \bar F) \, (\theta_p - \theta_{0,p})^2, \qquad
    F_p = \frac{1}{\sum_i |x_i|} \sum_i \Big(\partial_p \log p_{\theta_0}(x_i)\Big)^2

F is the diagonal of the empirical Fisher information per token, over `examples` sequences of each
corpus of the retain set. The damping :math:`\delta \bar F`, a fraction of its mean, also penalises
parameters whose gradient is zero on the sample. Half the quadratic form of the full F is, to second
order, the KL divergence per token from θ0 on the retain set. The diagonal preserves much less.

**Cost.** One backward pass per retain-set sequence, once per corpus of a job. F is kept in bfloat16
in host memory (2 bytes per parameter and corpus). A run keeps the summed F and a copy of θ0 on the
device.

Source: Kirkpatrick et al., "Overcoming Catastrophic Forgetting in Neural Networks", PNAS 2017,
equation 3 (elastic weight consolidation).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import token_nll
from untrac_exp.models.weights import parameters
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.objectives.base import (
    Objective,
    ObjectiveInputs,
    check_not_negative,
    check_retain_set,
)
from untrac_exp.stages.micro_batches import MicroBatch
from untrac_exp.stages.unlearning import StepLoss


class Information(NamedTuple):
    """Fisher statistics of one corpus.

    Attributes:
        squares: per-sequence gradients, squared and summed, one CPU tensor per parameter.
        tokens: number of scored tokens of the sequences.
    """

    squares: list[Tensor]
    tokens: int


@dataclass(frozen=True)
class Fisher(Objective):
    """Gradient ascent with a Fisher-weighted L2 penalty.

    Args:
        weight: weight w of the penalty.
        damping: δ, as a fraction of the mean of F.
        examples: number of sequences per corpus from which F is estimated.

    Raises:
        ValueError: `weight` or `damping` is negative, or `examples` is below 1.
    """

    weight: float = 1e4
    damping: float = 0.1
    examples: int = 64

    def __post_init__(self) -> None:
        check_not_negative("weight", self.weight)
        if self.damping < 0:
            raise ValueError(f"objective.damping={self.damping} must not be negative")
        if self.examples < 1:
            raise ValueError(f"objective.examples={self.examples} must be at least 1")

    @property
    def retain_size(self) -> int:
        return self.examples

    def prepare(self, inputs: ObjectiveInputs) -> StepLoss:
        check_retain_set("fisher", inputs.retain_set)

        def compute(corpus: Encoded) -> Information:
            sample = corpus.sample(self.examples, inputs.seed)
            inputs.meter.backward(sample.read)
            return information(inputs.theta0, sample)

        by_corpus = inputs.per_retained_corpus(compute)
        tokens = sum(statistics.tokens for statistics in by_corpus)
        theta0 = [p.detach().clone() for p in parameters(inputs.theta0)]
        fisher = [torch.zeros_like(p) for p in theta0]
        for statistics in by_corpus:
            for total, squares in zip(fisher, statistics.squares, strict=True):
                total += squares.to(total) / tokens
        mean = sum(float(f.sum()) for f in fisher) / sum(f.numel() for f in fisher)
        for total in fisher:
            total += self.damping * mean

        def loss(model: PreTrainedModel, micro_batch: MicroBatch) -> Tensor:
            pull = torch.stack(
                [
                    (f * (p - p0).square()).sum()
                    for f, p, p0 in zip(fisher, parameters(model), theta0, strict=True)
                ]
            ).sum()
            return negative_loss(model, micro_batch) + self.weight / 2 * pull

        return loss


def information(model: PreTrainedModel, data: Encoded) -> Information:
    """Sum the squared gradients of each sequence's log-likelihood, at the model's current weights.

    Args:
        model: the model to differentiate.
        data: N sequences, processed one at a time.

    Returns:
        The sums in bfloat16 on the CPU, and the number of scored tokens.
    """
    weights = parameters(model)
    squares = [torch.zeros_like(p) for p in weights]
    for i in range(len(data)):
        nll, _ = token_nll(model, data.batch(torch.tensor([i])))
        gradients = torch.autograd.grad(nll.sum(), weights, allow_unused=True)
        for square, gradient in zip(squares, gradients, strict=True):
            if gradient is not None:
                square += gradient.square()
    return Information([s.bfloat16().cpu() for s in squares], int(data.scored.sum()))
