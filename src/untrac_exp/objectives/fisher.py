r"""Ascent with a Fisher-weighted pull to θ0, so that what the other corpora need stays.

.. math::
    -L(Z; \theta) + \frac{w}{2} \sum_p (F_p + \delta \bar F) \, (\theta_p - \theta_{0,p})^2, \qquad
    F_p = \frac{1}{\sum_i |x_i|} \sum_i \Big(\partial_p \log p_{\theta_0}(x_i)\Big)^2

F is the diagonal of the empirical Fisher information a token, over `examples` sequences of each
other corpus, and :math:`\delta \bar F`, a share of its mean, is a damping: parameters on which the
sample is silent would else be free. Half the quadratic form of the full F is, to second order, the
KL divergence a token from θ0 on the other corpora; its diagonal alone holds much less.

F is computed once for each corpus of a job and kept in bfloat16 in the memory of the host (2 bytes
a parameter and corpus); a run holds the sum of the others' and θ0 itself, two more vectors as large
as the parameters, on the device.

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
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.objectives.base import Objective, Unlearned, check_not_negative, check_retain
from untrac_exp.stages.micro_batches import MicroBatch
from untrac_exp.stages.unlearning import StepLoss


class Information(NamedTuple):
    """Squared gradients of sequences, summed: one tensor a parameter, on the host; their tokens."""

    squares: list[Tensor]
    tokens: int


@dataclass(frozen=True)
class Fisher(Objective):
    """weight: of the pull against the loss; damping: δ; examples: of each corpus, to estimate F."""

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
    def held(self) -> int:
        return self.examples

    def prepare(self, unlearned: Unlearned) -> StepLoss:
        check_retain("fisher", unlearned.retain)

        def compute(corpus: Encoded) -> Information:
            sample = corpus.sample(self.examples, unlearned.seed)
            unlearned.meter.backward(sample.read)
            return information(unlearned.theta0, sample)

        found = unlearned.of_retain(compute)
        tokens = sum(one.tokens for one in found)
        theta0 = [p.detach().clone() for p in trained(unlearned.theta0)]
        fisher = [torch.zeros_like(p) for p in theta0]
        for one in found:
            for total, squares in zip(fisher, one.squares, strict=True):
                total += squares.to(total) / tokens
        mean = sum(float(f.sum()) for f in fisher) / sum(f.numel() for f in fisher)
        for total in fisher:
            total += self.damping * mean

        def loss(model: PreTrainedModel, micro_batch: MicroBatch) -> Tensor:
            pull = torch.stack(
                [
                    (f * (p - p0).square()).sum()
                    for f, p, p0 in zip(fisher, trained(model), theta0, strict=True)
                ]
            ).sum()
            return negative_loss(model, micro_batch) + self.weight / 2 * pull

        return loss


def information(model: PreTrainedModel, data: Encoded) -> Information:
    """Squared gradients of every sequence's log-likelihood at the model's weights, in bfloat16."""
    parameters = trained(model)
    squares = [torch.zeros_like(p) for p in parameters]
    for i in range(len(data)):
        nll, _ = token_nll(model, data.batch(torch.tensor([i])))
        gradients = torch.autograd.grad(nll.sum(), parameters, allow_unused=True)
        for square, gradient in zip(squares, gradients, strict=True):
            if gradient is not None:
                square += gradient.square()
    return Information([s.bfloat16().cpu() for s in squares], int(data.scored.sum()))


def trained(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The parameters that unlearning moves."""
    return [p for p in model.parameters() if p.requires_grad]
