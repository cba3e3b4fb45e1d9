"""The order in which a mixture of corpora is read, decided by a seed alone."""

from collections.abc import Iterator

import torch
from torch import Tensor


def epochs(n: int, seed: int, keep: Tensor | None = None) -> Iterator[int]:
    """Indices below `n` without end, a new permutation every epoch.

    With `keep` (a bool mask of n) the others are left out of the *same* permutations, so that θ0
    and a counterfactual model read what they share in one order. Their comparison then has less
    noise than with an order of its own for each.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from (order if keep is None else order[keep[order]]).tolist()


def batches(
    n: int, batch_size: int, seed: int, keep: Tensor | None = None, skip: int = 0
) -> Iterator[Tensor]:
    """Batches of indices without end, the first `skip` left out. A batch never holds fewer.

    A batch larger than the dataset is the whole dataset.
    """
    kept = n if keep is None else int(keep.sum())
    batch_size = min(batch_size, kept)
    indices = epochs(n, seed, keep)
    step = 0
    while True:
        batch = [next(indices) for _ in range(batch_size)]
        if step >= skip:
            yield torch.tensor(batch)
        step += 1
