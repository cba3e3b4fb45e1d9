"""Learning-rate schedule of pretraining: linear warm-up, plateau, decay.

The factor is a function of the step, without state. With W steps of warm-up and D of decay, step
t = 0, ..., T-1 of T uses the optimizer's learning rate times

    (t + 1) / W                         while t < W
    1                                   while t < T - D
    final + (1 - final) * shape(p)      then, p = (t - (T - D)) / D

where shape(p) is 1 - p (linear) or (1 + cos(pi p)) / 2 (cosine). The first factor is 1 / W, and
`final` would be reached at t = T, so no step has learning rate 0.

D = 0 gives no decay, and D = T - W decays from the end of the warm-up. Values between them are
warmup-stable-decay (Hu et al., "MiniCPM", 2024; Hägele et al., NeurIPS 2024).
"""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """Learning-rate schedule, by default constant.

    Args:
        warmup_steps: number of warm-up steps; below 1, a fraction of all steps.
        decay_steps: number of decay steps, as for `warmup_steps`; None for all after the warm-up.
        final: factor at the end of the decay.
        shape: shape of the decay.

    Raises:
        ValueError: an argument is out of range.
    """

    warmup_steps: float = 0
    decay_steps: float | None = 0
    final: float = 0.0
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        for name in ("warmup_steps", "decay_steps"):
            value = getattr(self, name)
            if value is not None and (value < 0 or (value > 1 and value % 1)):
                raise ValueError(
                    f"schedule.{name}={value} must be a whole number of steps, or a fraction of "
                    "the run's, from 0 to below 1"
                )
        if not 0 <= self.final <= 1:
            raise ValueError(
                f"schedule.final={self.final} must be from 0 to 1, a fraction of the learning rate"
            )

    def __call__(self, step: int, total: int) -> float:
        """Return the factor of the learning rate at `step`, from 0, of `total` steps.

        Raises:
            ValueError: warm-up and decay are longer than the run.
        """
        warmup, decay = self._lengths(total)
        if step < warmup:
            return (step + 1) / warmup
        if step < total - decay or decay == 0:
            return 1.0
        p = (step - (total - decay)) / decay
        left = 1 - p if self.shape == "linear" else (1 + math.cos(math.pi * p)) / 2
        return self.final + (1 - self.final) * left

    def _lengths(self, total: int) -> tuple[int, int]:
        """Return the numbers of warm-up and decay steps."""
        warmup = _steps(self.warmup_steps, total)
        if warmup > total:
            raise ValueError(
                f"schedule.warmup_steps={self.warmup_steps} is longer than a run of {total} steps; "
                "lower it, or give a fraction of the steps, as in schedule.warmup_steps=0.05"
            )
        decay = total - warmup if self.decay_steps is None else _steps(self.decay_steps, total)
        if warmup + decay > total:
            raise ValueError(
                f"schedule.decay_steps={self.decay_steps} and a warm-up of {warmup} steps are "
                f"longer than a run of {total} steps; lower one of them"
            )
        return warmup, decay


CONSTANT = Schedule()


def _steps(given: float, total: int) -> int:
    return round(given * total) if given < 1 else int(given)
