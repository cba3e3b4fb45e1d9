"""Gradient of a dataset's loss as one vector."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import mean_loss
from untrac_exp.models.weights import parameters
from untrac_exp.runtime import processes
from untrac_exp.stages.compiling import batches, compiled, keep_gradients


def mean_gradient(
    model: PreTrainedModel, data: Encoded, max_tokens: int, compile: bool = False
) -> Tensor:
    """Compute the gradient of the loss per token over all of `data`.

    Memory: the model and one gradient, independent of the number of examples.

    Args:
        model: the model; its P trainable parameters are in the order of `model.parameters()`.
        data: the dataset.
        max_tokens: maximum number of tokens per batch, including padding.
        compile: whether to compile the model, see `stages.compiling`.

    Returns:
        The gradient (P,), the same on each process.
    """
    model.zero_grad(set_to_none=True)
    total = int(data.scored.sum())
    passes = compiled(model, compile)
    for i, (indices, batch) in enumerate(processes.shard(batches(passes, data, max_tokens))):
        weight = int(data.scored[indices].sum()) / total
        (mean_loss(passes, batch) * weight).backward()
        if i == 0:
            keep_gradients(passes)
    gradient = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters(model)]
    )
    model.zero_grad(set_to_none=True)
    return processes.all_reduce(gradient)
