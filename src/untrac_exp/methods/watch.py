"""What UnTrac and UnTrac-Inv share: unlearn one dataset and watch others on the way."""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import torch

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Influences, Subject, Subset, score_row
from untrac_exp.models.loss import Losses
from untrac_exp.objectives.base import Objective, Unlearned
from untrac_exp.stages.pretraining import OptimizerFactory
from untrac_exp.stages.unlearning import Stopping, unlearn

_PROBE = 32
"""Examples of the unlearned dataset on which its own loss is followed."""


Name = TypeVar("Name", bound=Hashable)


class Panel(Generic[Name]):
    """Named datasets read together, so that short ones share their batches."""

    def __init__(self, datasets: Mapping[Name, Encoded]) -> None:
        self.names = list(datasets)
        self.data = Encoded.concatenate(list(datasets.values()))
        self._ends = np.cumsum([len(data) for data in datasets.values()])[:-1]

    def split(self, nll: np.ndarray) -> dict[Name, np.ndarray]:
        """(..., N) values of all examples as (..., N_i) of each dataset."""
        return dict(zip(self.names, np.split(nll, self._ends, axis=-1), strict=True))

    def losses(self, subject: Subject) -> dict[Name, Losses]:
        """The loss of every dataset with the model's present weights."""
        losses = subject.losses(self.data)
        tokens = self.split(losses.tokens.numpy())
        return {
            name: Losses(torch.from_numpy(nll), torch.from_numpy(tokens[name]))
            for name, nll in self.split(losses.nll.numpy()).items()
        }


@dataclass(frozen=True)
class Unlearn:
    """How to unlearn: the part of the configuration that UnTrac and UnTrac-Inv have in common."""

    optimizer: OptimizerFactory
    objective: Objective
    stopping: Stopping
    batch_size: int

    def watch(
        self,
        subject: Subject,
        name: str,
        data: Encoded,
        panel: Panel,
        others: Mapping[str, Encoded],
    ) -> Arrays:
        """Unlearn `data` from θ0 and read the panel at every scheduled step.

        others: the corpora that an objective may hold on to.
        Returns steps (S,), nll (S, N) of the panel's examples, own_steps (S + 1,) and own_loss
        (S + 1,), the mean loss of `data` itself from step 0 on.
        """

        def compute() -> Arrays:
            probe = data.sample(_PROBE, seed=0)
            steps: list[int] = []
            nll: list[np.ndarray] = []
            own = [subject.losses(probe).mean]
            batch = min(self.batch_size, len(data))

            def observe(step: int) -> bool:
                subject.meter.backward(
                    (step - (steps[-1] if steps else 0)) * batch * data.read // len(data)
                )
                own.append(subject.losses(probe).mean)
                if not math.isfinite(own[-1]):
                    raise ValueError(
                        f"unlearning '{name}' diverged: its loss is {own[-1]} at step {step}; "
                        "lower optimizer.lr"
                    )
                steps.append(step)
                nll.append(subject.losses(panel.data).nll.numpy())
                rise = self.stopping.own_loss_rise
                return rise is not None and own[-1] - own[0] >= rise

            with subject.leaving_theta0() as model:
                step_loss = self.objective.prepare(
                    Unlearned(model, data, dict(others), subject.max_tokens, subject.seed)
                )
                unlearn(
                    model, data, step_loss,
                    optimizer=self.optimizer, batch_size=self.batch_size,
                    max_tokens=subject.max_tokens, stopping=self.stopping, seed=subject.seed,
                    trainer=subject.trainer, observe=observe,
                )  # fmt: skip
            return {
                "steps": np.array(steps), "nll": np.stack(nll),
                "own_steps": np.array([0, *steps]), "own_loss": np.array(own),
            }  # fmt: skip

        return subject.part(name, compute)


class Record(Generic[Name]):
    """Gathers the answer from unlearning runs that watch one panel."""

    def __init__(self, panel: Panel[Name], before: Mapping[Name, Losses], vocab_size: int) -> None:
        self.panel, self.before, self.vocab_size = panel, before, vocab_size
        self.scores: list[dict[str, Any]] = []
        self.trajectory: list[tuple[Any, ...]] = []
        self.own_loss: list[tuple[Any, ...]] = []
        self.warnings: list[str] = []

    def add(self, unlearned: str, seen: Arrays, cell: Callable[[Name], tuple[str, Subset]]) -> None:
        """Add one run. cell: the corpus and test subset that a watched dataset speaks for."""
        for name, nll in self.panel.split(seen["nll"]).items():
            (corpus, subset), before = cell(name), self.before[name]
            self.scores.append(score_row(corpus, subset, before, nll[-1]))
            changes = (nll.sum(1) - float(before.nll.sum())) / int(before.tokens.sum())
            self.trajectory += [
                (corpus, *subset, *row) for row in zip(seen["steps"], changes, strict=True)
            ]
        own = seen["own_loss"]
        self.own_loss += [(unlearned, *row) for row in zip(seen["own_steps"], own, strict=True)]
        uniform = math.log(self.vocab_size)
        if own[-1] > uniform:
            self.warnings.append(
                f"unlearning '{unlearned}' collapsed the model: its own loss rose from "
                f"{own[0]:.2f} to {own[-1]:.2f} nats, past the uniform distribution's {uniform:.2f}"
            )

    def influences(self) -> Influences:
        columns = ["corpus", "testset", "subset", "step", "influence"]
        return Influences(
            pd.DataFrame(self.scores),
            pd.DataFrame(self.trajectory, columns=columns),
            pd.DataFrame(self.own_loss, columns=["unlearned", "step", "loss"]),
            self.warnings,
        )
