"""The Hessian of a dataset's loss, through its products with vectors."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from untrac_exp import processes
from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import mean_loss

Product = Callable[[Tensor], Tensor]
"""A linear map of parameter-sized vectors, (P,) to (P,)."""


def hessian_vector_product(
    model: PreTrainedModel, data: Encoded, max_tokens: int, vector: Tensor
) -> Tensor:
    """H v (P,), where H is the Hessian of the loss per token over all of `data`, v is (P,).

    Exact, by differentiating twice; parameters stand in the order of `model.parameters()`. Read in
    batches of at most `max_tokens` padded tokens, each of which costs two passes each way. Memory
    is that of two backward passes and three vectors, whatever the number of examples.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    sizes = [p.numel() for p in trained]
    product = torch.zeros(sum(sizes), device=trained[0].device, dtype=trained[0].dtype)
    pieces = [v.view_as(p) for p, v in zip(trained, vector.to(product).split(sizes), strict=True)]
    total = int(data.scored.sum())
    # Of the attention kernels, only the plain one can be differentiated twice.
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
    """Size of the eigenvalue of H farthest from 0, by so many power iterations.

    An estimate from below. multiply: v (P,) to H v (P,). start: (P,), not 0.
    """
    vector, size = start, float(start.norm())
    for _ in range(iterations):
        vector = multiply(vector / size)
        size = float(vector.norm())
    return size
