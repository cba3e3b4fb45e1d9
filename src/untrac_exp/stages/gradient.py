"""Gradient of a dataset's loss as one vector."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import mean_loss
from untrac_exp.models.weights import parameters
from untrac_exp.runtime import processes


def mean_gradient(model: PreTrainedModel, data: Encoded, max_tokens: int) -> Tensor:
    """Compute the gradient of the loss per token over all of `data`.

    Memory: the model and one gradient, independent of the number of examples.

    Args:
        model: the model; its P trainable parameters are in the order of `model.parameters()`.
        data: the dataset.
        max_tokens: maximum number of tokens per batch, including padding.

    Returns:
        The gradient (P,), the same on each process.
    """
    model.zero_grad(set_to_none=True)
    total = int(data.scored.sum())
    for indices, batch in processes.shard(data.batches(max_tokens)):
        weight = int(data.scored[indices].sum()) / total
        (mean_loss(model, batch) * weight).backward()
    gradient = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters(model)]
    )
    model.zero_grad(set_to_none=True)
    return processes.all_reduce(gradient)
