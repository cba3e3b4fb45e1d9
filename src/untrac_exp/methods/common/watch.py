"""Unlearn datasets and evaluate others during the runs; shared by UnTrac and UnTrac-Inv."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Change, Influences, Part, Size, Subject, Subset, Tokens
from untrac_exp.methods.common.scores import Panel, scored, some
from untrac_exp.objectives.base import Objective, Unlearned
from untrac_exp.stages.pretraining import OptimizerFactory
from untrac_exp.stages.unlearning import Stopping, unlearn

Run = tuple[Encoded, Mapping[str, Encoded]]
"""Forget set of one run, and its retain set by corpus."""


@dataclass(frozen=True)
class Unlearn:
    """Configuration of unlearning, shared by UnTrac and UnTrac-Inv."""

    optimizer: OptimizerFactory
    objective: Objective
    stopping: Stopping
    batch_size: int

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"method.batch_size={self.batch_size} must be at least 1")

    def unlearned(
        self,
        label: str,
        subject: Subject,
        runs: Mapping[str | Subset, Run],
        panel: Panel,
        warnings: Sequence[str],
    ) -> Influences:
        """Unlearn each forget set from θ0 and return the changes of the panel's losses.

        Args:
            label: name of the method in the log.
            subject: the model at θ0 and the data.
            runs: by corpus, or by test subset.
            panel: the datasets to evaluate: the test subsets, or the corpora.
            warnings: further limits of the scores.
        """
        before = panel.losses_at_theta0(subject)
        start = np.concatenate([losses.nll.numpy() for losses in before.values()])
        parts = {name: self.watch(subject, _text(name), run, panel) for name, run in runs.items()}
        found = subject.parts(parts, f"{label}: forget sets unlearned")
        changes: list[Change] = []
        trajectory: list[tuple[Any, ...]] = []
        own_loss: list[tuple[Any, ...]] = []
        for name, seen in found.items():
            own, steps = seen["own_loss"], seen["steps"]
            own_loss += [(_text(name), *row) for row in zip(seen["own_steps"], own, strict=True)]
            rises = [0.0, *(own[np.searchsorted(seen["own_steps"], steps)] - own[0])]
            nll = np.stack([start, *seen["nll"]])
            answers = panel.split(at_rise(self.stopping.own_loss_rise, np.array(rises), nll))
            for of, path in panel.split(seen["nll"]).items():
                corpus, subset = (of, name) if isinstance(name, Subset) else (name, of)
                changes.append(Change(corpus, subset, of, before[of], answers[of]))
                change = path.sum(1) - float(before[of].nll.sum())
                change /= int(before[of].tokens.sum())
                trajectory += [(corpus, *subset, *row) for row in zip(steps, change, strict=True)]
        columns = ["corpus", "testset", "subset", "step", "influence"]
        return scored(
            changes,
            panel.datasets,
            trajectory=pd.DataFrame(trajectory, columns=columns),
            own_loss=pd.DataFrame(own_loss, columns=["unlearned", "step", "loss"]),
            warnings=[*warnings, *self._warnings(found, subject.model.config.vocab_size)],
        )

    def watch(self, subject: Subject, name: str, run: Run, panel: Panel) -> Part:
        """Return a part that unlearns from θ0 and evaluates the panel's N examples at its steps.

        It has steps (S,), nll (S, N) in nats, own_steps (R,), which has 0 and all of steps, and
        own_loss (R,), the loss of a sample of the forget set in nats per token.
        """
        data, retain = run
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
                    nll.append(panel.evaluate(subject)["nll"])
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

    def _warnings(self, found: Mapping[str | Subset, Arrays], vocab_size: int) -> list[str]:
        """Warn of runs that ended too early and of collapsed models."""
        wanted, uniform = self.stopping.own_loss_rise, math.log(vocab_size)
        early, broken = [], []
        for name, seen in found.items():
            start, end = seen["own_loss"][[0, -1]]
            if wanted is not None and end - start < wanted:
                steps = seen["own_steps"][-1]
                early.append(f"of '{_text(name)}' by {end - start:.2f} after {steps} steps")
            if start <= uniform < end:
                broken.append(f"{end:.2f} for '{_text(name)}' ({start:.2f} before)")
        warnings = []
        if early:
            warnings.append(
                f"unlearning ended before the forget-set loss had risen by {wanted:g} nats: "
                f"{some(early)}; allow more in method.stopping"
            )
        if broken:
            warnings.append(
                "unlearning collapsed the model: the forget-set loss went past the uniform "
                f"distribution's {uniform:.2f} nats, to {some(broken)}"
            )
        return warnings


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


def _text(name: str | Subset) -> str:
    return name if isinstance(name, str) else "/".join(name)
