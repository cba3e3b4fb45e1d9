r"""Gradient ascent with the KL divergence from θ0's predictions on the retain set.

.. math::
    -L(Z; \theta) + w \; \frac{1}{|A|} \sum_{x \in A}
    \mathrm{KL}\big(p_{\theta_0}(\cdot \mid x) \,\|\, p_\theta(\cdot \mid x)\big)

A is the set of predicted tokens in `batch_size` sequences of the retain set. Each step takes the
next sequences from a shuffled pool of `examples` per corpus. θ0's predictions on the pool are
computed once per job. For each token the `top_k` most likely tokens are kept, and the probability
of all others as one more class. The KL divergence between these coarser distributions is a lower
bound of the full one. `top_k: null` keeps the whole vocabulary and gives the full divergence.

**Cost.** One forward pass over the pool per job, and `batch_size` more sequences per step, in
addition to `trainer.max_tokens`. Host memory: 8 bytes · examples · tokens · top_k per corpus, 67 MB
with the defaults and sequences of 1,024 tokens. The full distributions over 50,000 tokens would
take 13 GB.

Source: the KL term of Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", COLM 2024,
after Yao, Xu and Liu, "Large Language Model Unlearning", 2023.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.models.loss import logits_and_labels
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.objectives.base import Objective, ObjectiveInputs, check_not_negative
from untrac_exp.stages.micro_batches import MicroBatch
from untrac_exp.stages.unlearning import StepLoss

Prediction = tuple[Tensor, Tensor]
"""θ0's prediction of a sequence of at least its T predicted tokens, on the CPU.

(T, k) int32, ids of the most likely tokens; (T, k + 1) float32, their log-probabilities in nats and
that of all other tokens together, or (T, k) if k is the vocabulary size.
"""


@dataclass(frozen=True)
class KL(Objective):
    """Gradient ascent with a KL term on the retain set.

    Args:
        weight: weight w of the KL divergence; divergence and loss are in nats per token.
        examples: number of retain-set sequences per corpus.
        batch_size: number of retain-set sequences per step.
        top_k: number of tokens kept of each predicted distribution; None keeps all.

    Raises:
        ValueError: `weight` is negative, or another argument is below 1.
    """

    weight: float = 10.0
    examples: int = 64
    batch_size: int = 4
    top_k: int | None = 128

    def __post_init__(self) -> None:
        check_not_negative("weight", self.weight)
        for name in ("examples", "batch_size", "top_k"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"objective.{name}={value} must be at least 1")

    @property
    def retain_size(self) -> int:
        return self.examples

    def prepare(self, inputs: ObjectiveInputs) -> StepLoss:
        if not inputs.retain_set:
            raise ValueError(
                "objective=kl needs a retain set, and no sequence of the other corpora is left "
                "for it; give at least two corpora and more texts, or use objective=npo"
            )
        for name, corpus in inputs.retain_set.items():
            if name not in inputs.references:  # once per job
                sample = corpus.sample(self.examples, inputs.seed)
                inputs.meter.forward(sample.read)
                predicted = predictions(inputs.theta0, sample, self.top_k, inputs.max_tokens)
                inputs.references[name] = sample, predicted
        references = [inputs.references[name] for name in inputs.retain_set]
        pool = Encoded.concatenate([sample for sample, _ in references])
        theta0 = [prediction for _, predicted in references for prediction in predicted]
        generator = torch.Generator().manual_seed(inputs.seed)
        order = torch.randperm(len(pool), generator=generator)
        n = min(self.batch_size, len(order))
        scored = pool.scored

        def loss(model: PreTrainedModel, micro_batch: MicroBatch) -> Tensor:
            ascent = negative_loss(model, micro_batch)
            batch = order[(micro_batch.step * n + torch.arange(n)) % len(order)]
            indices = batch.tensor_split(micro_batch.parts)[micro_batch.part]
            if not len(indices):  # fewer sequences than micro-batches
                return ascent
            weight = self.weight * micro_batch.parts / int(scored[batch].sum())
            inputs.meter.backward(pool.select(indices).read)
            reference = [theta0[i] for i in indices.tolist()]
            return ascent + weight * divergence(model, pool.batch(indices), reference)

        return loss


def coarse(logits: Tensor, top: Tensor) -> Tensor:
    """Return the log-probabilities of the tokens in `top` and of all other tokens together.

    Args:
        logits: (..., V).
        top: (..., k) token ids.

    Returns:
        (..., k + 1) in nats, the last for all other tokens; (..., k) if k = V.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    log_p = logits.log_softmax(-1)
    chosen = log_p.gather(-1, top)
    if top.shape[-1] == logits.shape[-1]:
        return chosen
    rest = log_p.scatter(-1, top, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([chosen, rest], -1)


@torch.no_grad()
def predictions(
    model: PreTrainedModel, data: Encoded, top_k: int | None, max_tokens: int
) -> list[Prediction]:
    """Compute the model's `top_k` predictions on each sequence of `data`."""
    by_index: dict[int, Prediction] = {}
    for indices, batch in data.batches(max_tokens):
        logits, _ = logits_and_labels(model, batch)
        top = logits.topk(min(top_k or logits.shape[-1], logits.shape[-1])).indices
        rows = zip(top.int().cpu(), coarse(logits, top).cpu(), strict=True)
        by_index.update(zip(indices.tolist(), rows, strict=True))
    return [by_index[i] for i in range(len(data))]


def divergence(
    model: PreTrainedModel, batch: dict[str, Tensor], theta0: Sequence[Prediction]
) -> Tensor:
    """Return KL(θ0 || model) on a batch, in nats, summed over its scored tokens."""
    logits, labels = logits_and_labels(model, batch)
    top, log_p = (
        pad_sequence(list(rows), batch_first=True)[:, : labels.shape[1]].to(labels.device)
        for rows in zip(*theta0, strict=True)
    )
    log_q = coarse(logits, top.long())
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    return kl[labels != IGNORED].sum()
