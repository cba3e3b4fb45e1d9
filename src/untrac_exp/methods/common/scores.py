"""Losses of datasets that are evaluated together, and scores from their changes."""

from collections.abc import Iterable, Mapping, Sequence
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
        self._token_ends = np.cumsum([int(data.scored.sum()) for data in datasets.values()])[:-1]

    def __reduce__(self) -> tuple[Any, ...]:
        return EvaluationSet, (self.datasets,)  # concatenated again in a worker

    def split(self, nll: np.ndarray) -> dict[Name, np.ndarray]:
        """Split values (..., N) of all examples into (..., N_i) by dataset."""
        return dict(zip(self.datasets, np.split(nll, self._ends, axis=-1), strict=True))

    def split_tokens(self, token_nll: np.ndarray) -> dict[Name, np.ndarray]:
        """Split values (..., M) of all scored tokens by dataset; empty if `token_nll` is."""
        return dict(zip(self.datasets, np.split(token_nll, self._token_ends, axis=-1), strict=True))

    def evaluate(self, subject: Subject) -> Arrays:
        """Compute nll (N,), nats of each example at the model's current weights.

        token_nll (M,) is as in `Losses`, empty unless the subject asks for it.
        """
        return self._averaged(subject, subject.example_losses(self.data))

    def losses_at_theta0(self, subject: Subject) -> dict[Name, Losses]:
        """Return the losses of each dataset at θ0, a part of the result that is stored."""

        def compute() -> Arrays:
            if subject.by_token:
                return self.evaluate(subject)
            subject.meter.forward(self.data.read)
            [losses] = evaluate(subject.model, [self.data], subject.max_tokens, subject.trainer)
            return self._averaged(subject, losses)

        reads = {"evaluated": self.datasets.values()}
        return self.losses(subject, subject.part("before", compute, reads, draws=False))

    def losses(self, subject: Subject, evaluated: Arrays) -> dict[Name, Losses]:
        """Return the losses of each dataset, of what `evaluate` returned."""
        of_tokens, losses = self.split_tokens(evaluated["token_nll"]), {}
        for name, part in self.split(evaluated["nll"]).items():
            nll, scored = torch.from_numpy(part), self.datasets[name].scored
            tokens = subject.trainer.loss.of(Losses(nll, scored)).tokens
            losses[name] = Losses(nll, tokens, torch.from_numpy(of_tokens[name]))
        return losses

    def _averaged(self, subject: Subject, losses: Losses) -> Arrays:
        """Average the losses of all examples as those of each dataset are."""
        of_tokens = self.split_tokens(losses.token_nll.numpy())
        return joined(
            subject.trainer.loss.of(
                Losses(
                    torch.from_numpy(nll),
                    self.datasets[name].scored,
                    torch.from_numpy(of_tokens[name]),
                )
            )
            for name, nll in self.split(losses.nll.numpy()).items()
        )


def joined(losses: Iterable[Losses]) -> Arrays:
    """Return nll (N,) and token_nll (M,) of all datasets."""
    parts = list(losses)
    return {
        "nll": np.concatenate([part.nll.numpy() for part in parts]),
        "token_nll": np.concatenate([part.token_nll.numpy() for part in parts]),
    }


def scored(changes: Sequence[Change], read: Mapping[Any, Encoded], **others: Any) -> Influences:
    """Return the influences, in nats per token; read, others: as in `Influences`."""
    rows = []
    for corpus, subset, _, before, nll_after, _ in changes:
        influence = float((nll_after - before.nll.numpy()).sum() / before.tokens.numpy().sum())
        rows.append((corpus, *subset, influence))
    return Influences(pd.DataFrame(rows, columns=SCORES), changes=changes, read=read, **others)


def some(items: Sequence[str]) -> str:
    """List the first three items and the number of the others."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
