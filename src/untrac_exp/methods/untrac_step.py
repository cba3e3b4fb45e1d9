r"""UnTrac-Inv in one step, whose size is set by a given rise of the forget-set loss.

.. math::
    I(Z', Z) = L(Z; \theta_0 + \eta\, d) - L(Z; \theta_0), \qquad
    d = \operatorname{sign} \nabla L(Z'; \theta_0), \qquad
    L(Z'; \theta_0 + \eta\, d) = L(Z'; \theta_0) + \text{rise}

with one step per test subset, L and rise in nats per token. The direction d is that of Adam's first
step, or the gradient itself (`direction: gradient`). η is found by root finding along d, with about
nine evaluations of `probe` examples of the subset. For rise → 0 and `direction: gradient` it ranks
corpora as GradDot does.

Source: the first step of UnTrac-Inv (Isonuma and Titov, ACL 2024, section 3.2). The choice of η by
a given rise, which compares subsets at equal forgetting, is this project's.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Change, Influences, Method, Part, Subject
from untrac_exp.methods.common.products import gradient
from untrac_exp.methods.common.scores import EvaluationSet, scored
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.models.weights import parameters

_DOUBLINGS = 30
"""Maximum number of times the first-order step is doubled to reach the rise."""

_READINGS = 9
"""Evaluations of the probe in one search, as assumed by a plan."""


@dataclass(frozen=True)
class UnTracStep(Method):
    """One step up the loss of each test subset.

    Args:
        rise: rise of the test subset's loss, in nats per token.
        direction: "sign" of the gradient or the "gradient" itself.
        probe: number of the subset's examples on which the rise is measured.

    Raises:
        ValueError: `rise` or `probe` is not positive.
    """

    rise: float = 0.1
    direction: Literal["sign", "gradient"] = "sign"
    probe: int = 32

    def __post_init__(self) -> None:
        for name in ("rise", "probe"):
            if getattr(self, name) <= 0:
                raise ValueError(f"method.{name}={getattr(self, name)} must be positive")

    def influences(self, subject: Subject) -> Influences:
        evaluated = EvaluationSet(subject.corpora)
        before = evaluated.losses_at_theta0(subject)
        parts = {
            subset: self._step(subject, "/".join(subset), data, evaluated)
            for subset, data in subject.subsets.items()
        }
        changes, own_loss = [], []
        for subset, seen in subject.parts(parts, "untrac_step: test subsets unlearned").items():
            for corpus, after in evaluated.losses(subject, seen).items():
                changes.append(Change(corpus, subset, corpus, before[corpus], after))
            own_loss += [("/".join(subset), step, loss) for step, loss in enumerate(seen["own"])]
        columns = ["unlearned", "step", "loss"]
        return scored(changes, subject.corpora, own_loss=pd.DataFrame(own_loss, columns=columns))

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        evaluations = (1 + len(sizes.subsets)) * sizes.corpus_tokens
        probes = sum(
            min(self.probe, size.n) * size.tokens // size.n for size in sizes.subsets.values()
        )
        return sizes.subset_tokens + _READINGS * probes + evaluations, sizes.subset_tokens

    def _step(self, subject: Subject, name: str, data: Encoded, evaluated: EvaluationSet) -> Part:
        """Compute nll (N,), nats of each evaluated example after the step, and own (2,), the
        probe's loss before and after in nats per token.
        """

        def compute() -> Arrays:
            slope = gradient(subject, data)
            step = slope.sign() if self.direction == "sign" else slope
            probe = data.sample(self.probe, seed=0)
            start = subject.losses(probe).mean
            with subject.leaving_theta0() as model:
                move = _Line(parameters(model), step)

                def excess(eta: float) -> float:
                    move(eta)
                    return subject.losses(probe).mean - start - self.rise

                # d L / d η at 0; start the search at the first-order step
                rate = float(slope.double() @ step.double())
                highs = [2**i * self.rise / rate for i in range(_DOUBLINGS)] if rate > 0 else []
                high = next((eta for eta in highs if excess(eta) >= 0), None)
                if high is None:
                    raise ValueError(
                        f"the loss of '{name}' does not rise by {self.rise} nats along its "
                        "gradient; lower method.rise"
                    )
                # to a hundredth of the step
                eta = brentq(excess, 0, high, xtol=0.01 * high, rtol=0.01)
                own = start + self.rise + excess(eta)
                return {"own": np.array([start, own]), **evaluated.evaluate(subject)}

        reads = {"unlearned": [data], "evaluated": evaluated.datasets.values()}
        return Part("step", compute, reads, draws=False)


class _Line:
    """Set parameters to θ0 + η d, starting from any point on this line. step: d, (P,)."""

    def __init__(self, weights: list[torch.nn.Parameter], step: torch.Tensor) -> None:
        self.weights, self.at = weights, 0.0
        self.steps = step.split([weight.numel() for weight in weights])

    @torch.no_grad()
    def __call__(self, eta: float) -> None:
        for weight, step in zip(self.weights, self.steps, strict=True):
            weight.add_(step.view_as(weight).to(weight), alpha=eta - self.at)
        self.at = eta
