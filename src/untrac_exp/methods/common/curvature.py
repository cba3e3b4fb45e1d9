"""The Hessian of the training loss at θ0, as LiSSA and Arnoldi see it: a draw of data at a time."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.order import batches
from untrac_exp.methods.base import Subject, parameters
from untrac_exp.stages.hessian import Product, hessian_vector_product


class TrainingHessian:
    """H of the loss per token over the sampled sequences of all corpora.

    samples: sequences behind each product, drawn epoch after epoch; all of them if there are fewer.
    """

    def __init__(self, subject: Subject, samples: int) -> None:
        if samples < 1:
            raise ValueError(f"method.samples={samples} must be at least 1")
        self.subject, self.samples = subject, samples
        self.mixture = Encoded.concatenate(list(subject.corpora.values()))

    def draws(self) -> Iterator[Product]:
        """Products v -> H v, each over the next draw. Every call begins with the same draw."""
        for indices in batches(len(self.mixture), self.samples, self.subject.seed):
            yield partial(self._multiply, self.mixture.select(indices))

    def random_vector(self) -> Tensor:
        """(P,) standard normal, the same whenever it is asked for."""
        first = parameters(self.subject.model)[0]
        size = sum(p.numel() for p in parameters(self.subject.model))
        generator = torch.Generator().manual_seed(self.subject.seed)
        return torch.randn(size, generator=generator, dtype=torch.float64).to(first)

    def _multiply(self, data: Encoded, vector: Tensor) -> Tensor:
        subject = self.subject
        subject.meter.backward(2 * data.read)
        with subject.trainer.autocast(subject.model.device):
            return hessian_vector_product(subject.model, data, subject.max_tokens, vector)
