"""Losses of datasets that are evaluated together, and scores from their changes."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import torch

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import SCORES, Arrays, Change, Influences, Subject, Subset
from untrac_exp.models.loss import Losses
from untrac_exp.stages.evaluation import evaluate

Name = TypeVar("Name", bound=Subset | str)


class EvaluationSet(Generic[Name]):
    """Named datasets that are evaluated together, so that short ones share batches."""

    def __init__(self, datasets: Mapping[Name, Encoded]) -> None:
        self.datasets = datasets
        self.data = Encoded.concatenate(list(datasets.values()))
        self._ends = np.cumsum([len(data) for data in datasets.values()])[:-1]

    def __reduce__(self) -> tuple[Any, ...]:
        return EvaluationSet, (self.datasets,)  # concatenated again in a worker

    def split(self, nll: np.ndarray) -> dict[Name, np.ndarray]:
        """Split values (..., N) of all examples into (..., N_i) by dataset."""
        return dict(zip(self.datasets, np.split(nll, self._ends, axis=-1), strict=True))

    def evaluate(self, subject: Subject) -> Arrays:
        """Compute nll (N,), nats of each example at the model's current weights."""
        losses = self._losses(subject, subject.example_losses(self.data).nll.numpy())
        return {"nll": np.concatenate([part.nll.numpy() for part in losses.values()])}

    def losses_at_theta0(self, subject: Subject) -> dict[Name, Losses]:
        """Return the losses of each dataset at θ0, a part of the result that is stored."""

        def compute() -> Arrays:
            subject.meter.forward(self.data.read)
            [losses] = evaluate(subject.model, [self.data], subject.max_tokens, subject.trainer)
            return {"nll": losses.nll.numpy()}

        reads = {"evaluated": self.datasets.values()}
        before = subject.part("before", compute, reads, draws=False)
        return self._losses(subject, before["nll"])

    def _losses(self, subject: Subject, nll: np.ndarray) -> dict[Name, Losses]:
        """Return the losses of each dataset, averaged as in its loss, from nats (N,)."""
        return {
            name: subject.trainer.loss.of(
                Losses(torch.from_numpy(part), self.datasets[name].scored)
            )
            for name, part in self.split(nll).items()
        }


def scored(changes: Sequence[Change], read: Mapping[Any, Encoded], **others: Any) -> Influences:
    """Return the influences, in nats per token; read, others: as in `Influences`."""
    rows = []
    for corpus, subset, _, before, nll_after in changes:
        influence = float((nll_after - before.nll.numpy()).sum() / before.tokens.numpy().sum())
        rows.append((corpus, *subset, influence))
    return Influences(pd.DataFrame(rows, columns=SCORES), changes=changes, read=read, **others)


def some(items: Sequence[str]) -> str:
    """List the first three items and the number of the others."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
