r"""Negative preference optimisation (NPO): a bounded objective relative to θ0.

.. math::
    \frac{2}{\beta} \sum_i w_i \log\!\Big(1 + e^{\beta \ell_i}\Big), \qquad
    \ell_i = L(z_i; \theta_0) - L(z_i; \theta), \qquad
    w_i = \frac{|z_i|}{\sum_j |z_j|}

with :math:`\ell_i` the log-ratio of the two models' probabilities of example i, in nats *per token*
(the source sums over tokens), so that β does not depend on the length of the examples. The gradient
of an example whose loss has risen by r nats per token is scaled by 2/(1 + e^{βr}). The weights
:math:`w_i` are fractions of the scored tokens, as in L. Properties:

- At θ0 the gradient equals that of `ascent` for every β.
- For β → 0 it does so at every θ. β = 0 selects that limit.
- For β > 0 the objective is bounded below by 0, so the loss cannot be driven up without limit.

**Cost.** One forward pass over the forget set before the first step.

Source: Zhang, Lin, Bai and Mei, "Negative Preference Optimization: From Catastrophic Collapse to
Effective Unlearning", COLM 2024, equation 3.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.models.loss import example_losses, token_nll
from untrac_exp.objectives.base import Objective, ObjectiveInputs, check_not_negative
from untrac_exp.stages.micro_batches import MicroBatch
from untrac_exp.stages.unlearning import StepLoss


@dataclass(frozen=True)
class NPO(Objective):
    """Negative preference optimisation, with the log-ratio per token.

    Args:
        beta: β, in tokens per nat. The larger it is, the smaller the rise in loss after which an
            example's gradient vanishes. 0 is gradient ascent.

    Raises:
        ValueError: `beta` is negative.
    """

    beta: float = 20.0

    def __post_init__(self) -> None:
        check_not_negative("beta", self.beta)

    def prepare(self, inputs: ObjectiveInputs) -> StepLoss:
        inputs.meter.forward(inputs.forget_set.read)
        losses = example_losses(inputs.theta0, inputs.forget_set, inputs.max_tokens)
        reference = losses.nll / losses.tokens

        def loss(model: PreTrainedModel, micro_batch: MicroBatch) -> Tensor:
            nll, tokens = token_nll(model, micro_batch.inputs)
            log_ratio = reference[micro_batch.indices].to(nll) - nll.sum(1) / tokens
            return (self._bounded(log_ratio) * tokens / tokens.sum()).sum() * micro_batch.weight

        return loss

    def _bounded(self, log_ratio: Tensor) -> Tensor:
        if self.beta == 0:
            return log_ratio
        return 2 / self.beta * F.softplus(self.beta * log_ratio)
