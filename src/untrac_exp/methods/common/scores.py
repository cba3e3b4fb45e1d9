"""Losses of datasets that are evaluated together, and scores from their changes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import torch

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import SCORES, Arrays, Change, Influences, Subject, Subset
from untrac_exp.models.loss import Losses

Name = TypeVar("Name", bound=Subset | str)


class EvaluationSet(Generic[Name]):
    """Named datasets that are evaluated together, so that short ones share batches."""

    def __init__(self, datasets: Mapping[Name, Encoded]) -> None:
        self.datasets = datasets
        self.data = Encoded.concatenate(list(datasets.values()))
        self._ends = np.cumsum([len(data) for data in datasets.values()])[:-1]
        self._token_ends = np.cumsum([int(data.scored.sum()) for data in datasets.values()])[:-1]

    def __reduce__(self) -> tuple[Any, ...]:
        return EvaluationSet, (self.datasets,)  # concatenated again in a worker

    def split(self, nll: np.ndarray) -> dict[Name, np.ndarray]:
        """Split values (..., N) of all examples into (..., N_i) by dataset."""
        return dict(zip(self.datasets, np.split(nll, self._ends, axis=-1), strict=True))

    def evaluate(self, subject: Subject) -> Arrays:
        """Compute nll (N,), nats of each example at the model's current weights.

        token_nll (M,) is as in `Losses`, empty unless the subject asks for it.
        """
        losses = subject.example_losses(self.data)
        parts = self._losses(losses.nll.numpy(), losses.token_nll.numpy()).values()
        averaged = [subject.trainer.loss.of(part) for part in parts]
        return {
            "nll": np.concatenate([part.nll.numpy() for part in averaged]),
            "token_nll": np.concatenate([part.token_nll.numpy() for part in averaged]),
        }

    def losses_at_theta0(self, subject: Subject) -> dict[Name, Losses]:
        """Return the losses of each dataset at θ0, a part of the result that methods share."""
        reads = {"evaluated": self.datasets.values()}
        evaluated = subject.part(
            "before", lambda: self.evaluate(subject), reads, draws=False, of_theta0=True
        )
        return self.losses(subject, evaluated)

    def losses(self, subject: Subject, evaluated: Arrays) -> dict[Name, Losses]:
        """Return the losses of each dataset, of what `evaluate` returned."""
        parts = self._losses(evaluated["nll"], evaluated["token_nll"])
        return {
            name: replace(part, tokens=subject.trainer.loss.of(part).tokens)
            for name, part in parts.items()
        }

    def _losses(self, nll: np.ndarray, token_nll: np.ndarray) -> dict[Name, Losses]:
        """Split the losses of all examples by dataset."""
        of_tokens = np.split(token_nll, self._token_ends)
        return {
            name: Losses(torch.from_numpy(part), self.datasets[name].scored, torch.from_numpy(own))
            for (name, part), own in zip(self.split(nll).items(), of_tokens, strict=True)
        }


def scored(changes: Sequence[Change], read: Mapping[Any, Encoded], **others: Any) -> Influences:
    """Return the influences, in nats per token; read, others: as in `Influences`."""
    rows = []
    for change in changes:
        influence = float(change.nats.sum() / change.tokens.sum())
        rows.append((change.corpus, *change.subset, influence))
    return Influences(pd.DataFrame(rows, columns=SCORES), changes=changes, read=read, **others)


def some(items: Sequence[str]) -> str:
    """List the first three items and the number of the others."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
