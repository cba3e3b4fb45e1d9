"""Hessian-vector products of a dataset's loss."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import mean_loss
from untrac_exp.models.weights import parameters
from untrac_exp.runtime import processes

Product = Callable[[Tensor], Tensor]
"""A linear map of parameter-sized vectors, (P,) to (P,)."""


def hessian_vector_product(
    model: PreTrainedModel, data: Encoded, max_tokens: int, vector: Tensor
) -> Tensor:
    """Compute H v, where H (P, P) is the Hessian of the loss per token over all of `data`.

    Exact, by double backpropagation: two forward and backward passes over `data`. Memory: two
    backward passes and three vectors (P,), independent of the number of examples.

    Args:
        model: the model; its P trainable parameters are in the order of `model.parameters()`.
        data: the dataset.
        max_tokens: maximum number of tokens per batch, including padding.
        vector: v (P,).

    Returns:
        H v (P,).
    """
    trained = parameters(model)
    sizes = [p.numel() for p in trained]
    product = torch.zeros(sum(sizes), device=trained[0].device, dtype=trained[0].dtype)
    pieces = [v.view_as(p) for p, v in zip(trained, vector.to(product).split(sizes), strict=True)]
    total = int(data.scored.sum())
    # Only the math attention kernel supports double backward
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        for indices, batch in processes.shard(data.batches(max_tokens)):
            loss = mean_loss(model, batch) * (int(data.scored[indices].sum()) / total)
            slopes = torch.autograd.grad(loss, trained, create_graph=True, materialize_grads=True)
            slope = torch.stack([(g * v).sum() for g, v in zip(slopes, pieces, strict=True)]).sum()
            rows = torch.autograd.grad(slope, trained, materialize_grads=True)
            for into, row in zip(product.split(sizes), rows, strict=True):
                into += row.flatten()
    return processes.all_reduce(product)


def largest_eigenvalue(multiply: Product, start: Tensor, iterations: int) -> float:
    """Estimate the largest absolute eigenvalue of H, from below, by power iteration.

    multiply: v (P,) to H v (P,). start: (P,), not 0.
    """
    vector, size = start, float(start.norm())
    for _ in range(iterations):
        vector = multiply(vector / size)
        size = float(vector.norm())
    return size
