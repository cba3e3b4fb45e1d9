"""Unlearn one dataset and evaluate others during the run; shared by UnTrac and UnTrac-Inv."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import pandas as pd
import torch

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import (
    Arrays,
    Change,
    Influences,
    Part,
    Size,
    Subject,
    Subset,
    Tokens,
)
from untrac_exp.methods.common.scores import score_row
from untrac_exp.models.loss import Losses
from untrac_exp.objectives.base import Objective, Unlearned
from untrac_exp.stages.pretraining import OptimizerFactory
from untrac_exp.stages.unlearning import Stopping, unlearn

Name = TypeVar("Name", bound=Subset | str)


class Panel(Generic[Name]):
    """Named datasets that are evaluated together, so that short ones share batches."""

    def __init__(self, datasets: Mapping[Name, Encoded]) -> None:
        self.names = list(datasets)
        self.datasets = datasets
        self.data = Encoded.concatenate(list(datasets.values()))
        self._ends = np.cumsum([len(data) for data in datasets.values()])[:-1]

    def split(self, nll: np.ndarray) -> dict[Name, np.ndarray]:
        """Split values (..., N) of all examples into (..., N_i) by dataset."""
        return dict(zip(self.names, np.split(nll, self._ends, axis=-1), strict=True))

    def losses(self, subject: Subject) -> dict[Name, Losses]:
        """Compute the losses of each dataset at the model's current weights."""
        losses = subject.losses(self.data)
        tokens = self.split(losses.tokens.numpy())
        return {
            name: Losses(torch.from_numpy(nll), torch.from_numpy(tokens[name]))
            for name, nll in self.split(losses.nll.numpy()).items()
        }

    def losses_at_theta0(self, subject: Subject) -> dict[Name, Losses]:
        """Return `losses` at θ0, a part of the result that is stored."""

        def compute() -> Arrays:
            return {"nll": subject.losses(self.data).nll.numpy()}

        reads = {"panel": self.datasets.values()}
        nll = subject.part("before", compute, reads, draws=False)["nll"]
        return {
            name: Losses(torch.from_numpy(one), self.datasets[name].scored)
            for name, one in self.split(nll).items()
        }


@dataclass(frozen=True)
class Unlearn:
    """Configuration of unlearning, shared by UnTrac and UnTrac-Inv."""

    rate_key: ClassVar[str] = "default"
    """Key of the learning rate in `unlearning.rates`."""

    optimizer: OptimizerFactory
    objective: Objective
    stopping: Stopping
    batch_size: int

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"method.batch_size={self.batch_size} must be at least 1")

    def record(
        self, subject: Subject, panel: Panel[Name], warnings: Sequence[str] = ()
    ) -> "Record[Name]":
        """Create an empty record with the panel's losses at θ0 and initial warnings."""
        return Record(
            panel,
            panel.losses(subject),
            subject.model.config.vocab_size,
            self.stopping.own_loss_rise,
            warnings,
        )

    def watch(
        self,
        subject: Subject,
        name: str,
        data: Encoded,
        panel: Panel,
        retain: Mapping[str, Encoded],
    ) -> Part:
        """Return a part that unlearns `data` from θ0 and evaluates the panel at scheduled steps.

        Args:
            subject: the model at θ0 and the data.
            name: name of the forget set.
            data: the forget set.
            panel: the datasets to evaluate, N examples.
            retain: the retain set by corpus.

        Returns:
            A part with steps (S,), nll (S, N) in nats, own_steps (R,), which has 0 and all of
            steps, and own_loss (R,), the loss of a sample of `data` in nats per token.
        """
        batch = min(self.batch_size, len(data))
        schedule = self.stopping.schedule(self.stopping.limit(len(data), batch))
        wanted = self.stopping.own_loss_rise

        def compute() -> Arrays:
            probe = data.sample(self.stopping.probe, seed=0)
            steps: list[int] = []
            nll: list[np.ndarray] = []
            own_steps, own = [0], [subject.losses(probe).mean]

            def observe(step: int) -> bool:
                subject.meter.backward((step - own_steps[-1]) * batch * data.read // len(data))
                own_steps.append(step)
                own.append(subject.losses(probe).mean)
                if not math.isfinite(own[-1]):
                    raise ValueError(
                        f"unlearning '{name}' diverged: its loss is {own[-1]} at step {step}; "
                        "lower optimizer.lr"
                    )
                rise = own[-1] - own[0]
                # From half the wanted rise on, evaluate the panel as often as the forget set, so
                # that the last two evaluations, which are interpolated, are close together.
                if step in schedule or (wanted is not None and rise >= wanted / 2):
                    steps.append(step)
                    nll.append(subject.losses(panel.data).nll.numpy())
                return wanted is not None and rise >= wanted

            with subject.leaving_theta0() as model:
                with subject.trainer.autocast(model.device):
                    step_loss = self.objective.prepare(
                        Unlearned(
                            model, data, dict(retain), subject.max_tokens, subject.seed,
                            subject.references, subject.meter,
                        )
                    )  # fmt: skip
                unlearn(
                    model, data, step_loss,
                    optimizer=self.optimizer, batch_size=self.batch_size,
                    max_tokens=subject.max_tokens, stopping=self.stopping, seed=subject.seed,
                    trainer=subject.trainer, observe=observe,
                )  # fmt: skip
            return {
                "steps": np.array(steps), "nll": np.stack(nll),
                "own_steps": np.array(own_steps), "own_loss": np.array(own),
            }  # fmt: skip

        reads = {
            "unlearned": [data],
            "panel": panel.datasets.values(),
            "retain": retain.values(),
        }
        return Part("unlearning", compute, reads)

    def reads(self, unlearned: Iterable[Size], panel: Iterable[Size]) -> Tokens:
        """Estimate the tokens of unlearning each of `unlearned` and evaluating `panel`.

        Excludes the objective's additional tokens; an upper bound if `own_loss_rise` is set.
        """
        watched = sum(data.read for data in panel)
        forward, backward = watched, 0
        for data in unlearned:
            batch = min(self.batch_size, len(data))
            steps = self.stopping.readings(self.stopping.limit(len(data), batch))
            probe = data.sample(self.stopping.probe, seed=0).read
            taken = zip([0, *steps], steps, strict=False)
            backward += sum((step - last) * batch * data.read // len(data) for last, step in taken)
            forward += probe + len(steps) * (probe + watched)
        return Tokens(forward + backward, backward)


def at_rise(wanted: float | None, rises: np.ndarray, nll: np.ndarray) -> np.ndarray:
    """Interpolate nll (S, N) to where `rises` (S,) first reaches `wanted`; returns (N,).

    Linear in the rise between the two adjacent evaluations. The last evaluation if `wanted` is None
    or not reached.
    """
    if wanted is None or not (rises >= wanted).any():
        return nll[-1]
    i = int(np.argmax(rises >= wanted))
    if i == 0:
        return nll[0]
    part = (wanted - rises[i - 1]) / (rises[i] - rises[i - 1])
    return nll[i - 1] + part * (nll[i] - nll[i - 1])


class Record(Generic[Name]):
    """Collects the results of unlearning runs that evaluate one panel."""

    def __init__(
        self,
        panel: Panel[Name],
        before: Mapping[Name, Losses],
        vocab_size: int,
        own_loss_rise: float | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.panel, self.before, self.vocab_size = panel, before, vocab_size
        self.own_loss_rise = own_loss_rise
        self.warnings = list(warnings)
        self._start = np.concatenate([losses.nll.numpy() for losses in before.values()])
        self.scores: list[dict[str, Any]] = []
        self.changes: list[Change] = []
        self.trajectory: list[tuple[Any, ...]] = []
        self.own_loss: list[tuple[Any, ...]] = []

    def add(self, unlearned: str, seen: Arrays, cell: Callable[[Name], tuple[str, Subset]]) -> None:
        """Add one run. cell: maps an evaluated dataset to its corpus and test subset."""
        own, steps = seen["own_loss"], seen["steps"]
        answers = self.panel.split(self._answer(seen))
        for name, nll in self.panel.split(seen["nll"]).items():
            (corpus, subset), before = cell(name), self.before[name]
            self.scores.append(score_row(corpus, subset, before, answers[name]))
            self.changes.append(Change(corpus, subset, name, before, answers[name]))
            changes = (nll.sum(1) - float(before.nll.sum())) / int(before.tokens.sum())
            self.trajectory += [(corpus, *subset, *row) for row in zip(steps, changes, strict=True)]
        self.own_loss += [(unlearned, *row) for row in zip(seen["own_steps"], own, strict=True)]

    def _answer(self, seen: Arrays) -> np.ndarray:
        """Return the panel's losses (N,) in nats at the point where runs are compared."""
        read = np.searchsorted(seen["own_steps"], seen["steps"])
        rises = np.array([0.0, *(seen["own_loss"][read] - seen["own_loss"][0])])
        return at_rise(self.own_loss_rise, rises, np.stack([self._start, *seen["nll"]]))

    def influences(self) -> Influences:
        columns = ["corpus", "testset", "subset", "step", "influence"]
        return Influences(
            pd.DataFrame(self.scores),
            pd.DataFrame(self.trajectory, columns=columns),
            pd.DataFrame(self.own_loss, columns=["unlearned", "step", "loss"]),
            self.changes,
            self.warnings + self._warnings(),
            self.panel.datasets,
        )

    def _warnings(self) -> list[str]:
        """Return a warning about runs that ended too early and one about collapsed models."""
        runs: dict[str, tuple[float, float, int]] = {}  # forget-set loss at first and last, steps
        for name, step, loss in self.own_loss:
            start = runs[name][0] if name in runs else loss
            runs[name] = (start, loss, step)
        warnings = []
        if (wanted := self.own_loss_rise) is not None:
            early = [
                f"of '{name}' by {end - start:.2f} after {steps} steps"
                for name, (start, end, steps) in runs.items()
                if end - start < wanted
            ]
            if early:
                warnings.append(
                    f"unlearning ended before the forget-set loss had risen by {wanted:g} nats: "
                    f"{_some(early)}; allow more in method.stopping"
                )
        uniform = math.log(self.vocab_size)
        broken = [
            f"{end:.2f} for '{name}' ({start:.2f} before)"
            for name, (start, end, _) in runs.items()
            if start <= uniform < end
        ]
        if broken:
            warnings.append(
                "unlearning collapsed the model: the forget-set loss went past the uniform "
                f"distribution's {uniform:.2f} nats, to {_some(broken)}"
            )
        return warnings


def _some(items: list[str]) -> str:
    """List the first three items and the number of the others."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
