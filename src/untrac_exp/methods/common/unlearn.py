"""Unlearn datasets and evaluate others during the runs; shared by UnTrac and UnTrac-Inv."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Change, Influences, Method, Part, Subject, Subset
from untrac_exp.methods.common.scores import EvaluationSet, scored, some
from untrac_exp.methods.common.sizes import Size
from untrac_exp.models.loss import vocab_size
from untrac_exp.objectives.base import Objective, ObjectiveInputs
from untrac_exp.stages.pretraining import OptimizerFactory
from untrac_exp.stages.unlearning import ScheduledEvaluations, Stopping, Unlearning, unlearn


class UnlearningRun(NamedTuple):
    """Forget set of one run, and its retain set by corpus."""

    forget_set: Encoded
    retain_set: Mapping[str, Encoded]


@dataclass(frozen=True)
class UnlearningMethod(Method):
    """A method that unlearns datasets, one run from θ0 for each.

    Args:
        optimizer: creates the optimizer of a run.
        objective: what the steps ascend.
        stopping: when a run ends, and when datasets are evaluated.
        batch_size: examples per step.
        dropout: take the steps in training mode, with the model's dropout. Its random numbers
            depend on `seed`, the step and the micro-batch alone.
    """

    optimizer: OptimizerFactory
    objective: Objective
    stopping: Stopping
    batch_size: int
    dropout: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"method.batch_size={self.batch_size} must be at least 1")

    def changes_by_unlearning(
        self,
        method: str,
        subject: Subject,
        runs: Mapping[str | Subset, UnlearningRun],
        evaluated: EvaluationSet,
        warnings: Sequence[str],
    ) -> Influences:
        """Unlearn each forget set from θ0 and return the changes of the evaluated losses.

        Args:
            method: its name, for the log.
            subject: the model at θ0 and the data.
            runs: by corpus, or by test subset.
            evaluated: the test subsets, or the corpora.
            warnings: further limits of the scores.
        """
        before = evaluated.losses_at_theta0(subject)
        parts = {
            name: self._part(subject, _text(name), run, evaluated) for name, run in runs.items()
        }

        def own_loss(name: str | Subset, curve: Arrays) -> pd.DataFrame:
            return pd.DataFrame({"step": [0, *curve["steps"]], "loss": curve["own_loss"]})

        def trajectory(name: str | Subset, curve: Arrays) -> pd.DataFrame:
            rows: list[tuple[Any, ...]] = []
            for of, nll_by_step in evaluated.split(curve["nll"]).items():
                corpus, subset = (of, name) if isinstance(name, Subset) else (name, of)
                change = nll_by_step.sum(1) - float(before[of].nll.sum())
                change /= int(before[of].tokens.sum())
                rows += [
                    (corpus, *subset, *row) for row in zip(curve["steps"], change, strict=True)
                ]
            return pd.DataFrame(rows, columns=["corpus", "testset", "subset", "step", "influence"])

        def log_curves(name: str | Subset, curve: Arrays) -> None:
            data = runs[name].forget_set
            flops = 6 * parameters * min(self.batch_size, len(data)) * data.read / len(data)
            own = own_loss(name, curve).assign(seconds=curve["seconds"])
            own["flops"] = flops * own["step"]
            subject.on_curves(_text(name), own, trajectory(name, curve))

        parameters = sum(weight.numel() for weight in subject.model.parameters())
        curves = subject.parts(parts, f"{method}: forget sets unlearned", log_curves)
        changes: list[Change] = []
        for name, curve in curves.items():
            last = {key: curve[key][-1] for key in ("nll", "token_nll")}
            for of, after in evaluated.losses(subject, last).items():
                corpus, subset = (of, name) if isinstance(name, Subset) else (name, of)
                changes.append(Change(corpus, subset, of, before[of], after))
        own_losses = [own_loss(*run).assign(unlearned=_text(run[0])) for run in curves.items()]
        return scored(
            changes,
            evaluated.datasets,
            trajectory=pd.concat([trajectory(*run) for run in curves.items()], ignore_index=True),
            own_loss=pd.concat(own_losses, ignore_index=True),
            warnings=[*warnings, *self._warnings(curves, vocab_size(subject.model))],
        )

    def _part(
        self, subject: Subject, name: str, run: UnlearningRun, evaluated: EvaluationSet
    ) -> Part:
        """Return a part that unlearns from θ0 and evaluates N examples at its steps.

        It has steps (S,), nll (S, N) and token_nll (S, M) in nats; at θ0 and after the steps also
        own_loss (S + 1,), the loss of a sample of the forget set in nats per token, and seconds
        (S + 1,) since the start.
        """
        data, retain_set = run
        batch_size = min(self.batch_size, len(data))
        limit = self.stopping.limit(len(data), batch_size)

        def compute() -> Arrays:
            sample = data.sample(self.stopping.probe, seed=0)
            evaluations = ScheduledEvaluations(
                self.stopping,
                limit,
                forget_loss=lambda: subject.losses(sample).mean,
                evaluate=lambda: evaluated.evaluate(subject),
                name=name,
            )
            with subject.leaving_theta0() as model:
                with subject.trainer.autocast(model.device):
                    step_loss = self.objective.prepare(
                        ObjectiveInputs(
                            model, data, dict(retain_set), subject.max_tokens, subject.seed,
                            subject.meter,
                        )
                    )  # fmt: skip
                unlearn(
                    Unlearning(
                        model, data, step_loss, self.optimizer, batch_size, subject.seed,
                        subject.trainer.loss, self.dropout,
                    ),
                    steps=limit, max_tokens=subject.max_tokens, trainer=subject.trainer,
                    callbacks=[evaluations],
                )  # fmt: skip
            subject.meter.backward(limit * batch_size * data.read // len(data))
            return {
                "steps": np.array(evaluations.steps),
                "nll": np.stack([seen["nll"] for seen in evaluations.evaluated]),
                "token_nll": np.stack([seen["token_nll"] for seen in evaluations.evaluated]),
                "own_loss": np.array(evaluations.own_losses),
                "seconds": np.array(evaluations.seconds),
            }

        reads = {
            "unlearned": [data],
            "evaluated": evaluated.datasets.values(),
            "retain": retain_set.values(),
        }
        return Part("unlearning", compute, reads)

    def reads(self, unlearned: Iterable[Size], panel: Iterable[Size]) -> tuple[int, int]:
        """Estimate the tokens of unlearning each of `unlearned` and evaluating `panel`.

        Excludes the objective's additional tokens.
        """
        watched = sum(size.tokens for size in panel)
        forward, backward = watched, 0
        for n, tokens in unlearned:
            batch = min(self.batch_size, n)
            limit = self.stopping.limit(n, batch)
            evaluations = len(self.stopping.schedule(limit))
            probe = min(self.stopping.probe, n) * tokens // n
            backward += limit * batch * tokens // n
            forward += probe + evaluations * (probe + watched)
        return forward + backward, backward

    def _warnings(self, curves: Mapping[str | Subset, Arrays], vocabulary: int) -> list[str]:
        """Warn of collapsed models."""
        uniform = math.log(vocabulary)
        collapsed = []
        for name, curve in curves.items():
            start, end = curve["own_loss"][[0, -1]]
            if start <= uniform < end:
                collapsed.append(f"{end:.2f} for '{_text(name)}' ({start:.2f} before)")
        if not collapsed:
            return []
        return [
            "unlearning collapsed the model: the forget-set loss went past the uniform "
            f"distribution's {uniform:.2f} nats, to {some(collapsed)}"
        ]


def _text(name: str | Subset) -> str:
    return name if isinstance(name, str) else "/".join(name)
