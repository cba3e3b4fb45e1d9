"""Order of training examples, determined by a seed."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor


def epochs(n: int, seed: int, keep: Tensor | None = None) -> Iterator[int]:
    """Yield indices below `n` indefinitely, a new permutation per epoch.

    `keep`, a bool mask (n,), removes indices from the *same* permutations, so θ0 and a
    counterfactual model see their common examples in the same order. This reduces the variance of
    their comparison.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from (order if keep is None else order[keep[order]]).tolist()


def batches(
    n: int, batch_size: int, seed: int, keep: Tensor | None = None, skip: int = 0
) -> Iterator[Tensor]:
    """Yield batches of indices indefinitely, without the first `skip`.

    All batches have the same size: `batch_size`, or the size of the dataset if that is smaller.
    """
    batch_size = min(batch_size, n if keep is None else int(keep.sum()))
    indices = islice(epochs(n, seed, keep), skip * batch_size, None)
    while True:
        yield torch.tensor(list(islice(indices, batch_size)))
