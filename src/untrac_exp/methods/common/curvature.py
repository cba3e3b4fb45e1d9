"""Stochastic products with the Hessian of the training loss at θ0, for LiSSA and Arnoldi."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.order import epochs
from untrac_exp.methods.base import Subject
from untrac_exp.models.weights import parameters
from untrac_exp.stages.hessian import Product, hessian_vector_product


class TrainingHessian:
    """Hessian H (P, P) of the loss per token of the training mixture, from the corpora's samples.

    Each corpus is weighted by its tokens in the mixture, whatever the size of its sample. The
    sequences of a product are drawn in these proportions, without replacement within an epoch.

    Args:
        subject: the model and the corpora.
        samples: sequences per product, at most as many as the mixture has.

    Raises:
        ValueError: `samples` is below 1.
    """

    def __init__(self, subject: Subject, samples: int) -> None:
        if samples < 1:
            raise ValueError(f"method.samples={samples} must be at least 1")
        self.subject = subject
        self._sequences = Encoded.concatenate(list(subject.corpora.values()))
        # sequences of each corpus in the mixture: its tokens by their mean number in a sequence
        sizes = []
        for name, data in subject.corpora.items():
            scored = int(data.scored.sum())
            whole = subject.trained_on.get(name, data)
            sizes.append(int(whole.scored.sum()) * len(data) / scored)
        self.samples = min(samples, round(sum(sizes)))
        self._ends = np.cumsum(sizes) / sum(sizes) * self.samples

    def data(self) -> Iterator[Encoded]:
        """Yield samples of sequences; each call starts with the same one."""
        corpora = list(self.subject.corpora.values())
        starts = np.cumsum([0, *map(len, corpora)])
        seed = self.subject.seed
        orders = [epochs(len(data), seed + i) for i, data in enumerate(corpora)]
        generator = torch.Generator().manual_seed(seed)
        while True:
            # rounded up or down at random, so that every share is right on average
            shift = float(torch.rand(1, generator=generator))
            counts = np.diff(np.floor(self._ends + shift), prepend=0.0).astype(int)
            yield self._sequences.select(
                torch.tensor(
                    [
                        start + next(order)
                        for start, order, count in zip(starts, orders, counts, strict=False)
                        for _ in range(count)
                    ]
                )
            )

    def draws(self) -> Iterator[Product]:
        """Yield products v -> H v, each over a new sample; each call starts with the same one."""
        for data in self.data():
            yield partial(self._multiply, data)

    def random_vector(self) -> Tensor:
        """Return a standard normal vector (P,), the same on each call."""
        first = parameters(self.subject.model)[0]
        size = sum(p.numel() for p in parameters(self.subject.model))
        generator = torch.Generator().manual_seed(self.subject.seed)
        return torch.randn(size, generator=generator, dtype=torch.float64).to(first)

    def _multiply(self, data: Encoded, vector: Tensor) -> Tensor:
        subject = self.subject
        subject.meter.backward(2 * data.read)
        with subject.trainer.autocast(subject.model.device):
            return hessian_vector_product(subject.model, data, subject.max_tokens, vector)
