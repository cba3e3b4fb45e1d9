r"""UnTrac in one Newton step on the token embeddings.

.. math::
    I(Z', Z) = L(Z'; \theta_0 + \eta\, d_Z) - L(Z'; \theta_0), \qquad
    d_Z = H^{-1} \nabla L(Z; \theta_0), \qquad
    \frac{1}{|\mathcal{Z}|} \sum_Z \eta\, \nabla L(Z; \theta_0)^\top d_Z = \text{rise}

with one step per corpus Z, which evaluates all test subsets Z'. H is the Hessian of the loss in the
embeddings, approximated by token frequencies (`common.frequency`). η is the same for all corpora,
as if all were left out of the same training: to first order, the loss of a sample rises by `rise`
nats per token on average. For rise → 0 it ranks corpora as `hif_frequency` of the same damping.

The gradient of a sample is partly noise, so the loss of the whole corpus rises by less than that of
the sample. To make samples of different sizes comparable, all influences are scaled to where the
losses of whole corpora rise by `rise` to first order; this rise is estimated without bias, from the
gradients of two halves of each sample.

Source: UnTrac of Isonuma and Titov, ACL 2024, section 3.1, whose optimizer this replaces. Removing
data by one Newton step is the idea of Guo et al., "Certified Data Removal from Machine Learning
Models", ICML 2020. The frequencies are this project's.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Change, Influences, Method, Part, Subject
from untrac_exp.methods.common.frequency import check_embeddings, inverse_frequency
from untrac_exp.methods.common.products import Vectors, gradient, vectors
from untrac_exp.methods.common.scores import EvaluationSet, scored
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.models.weights import EMBEDDINGS, parameters


@dataclass(frozen=True)
class UnTracNewton(Method):
    """One Newton step up the loss of each corpus.

    Args:
        rise: mean rise of the losses of the samples, to first order, in nats per token.
        damping: fraction of the mean frequency 1 / V that is added to every token's.

    Raises:
        ValueError: `rise` or `damping` is not positive, or `weights` are not the embeddings.
    """

    rise: float = 0.3
    damping: float = 0.1
    weights: str = field(default=EMBEDDINGS, kw_only=True)

    def __post_init__(self) -> None:
        check_embeddings(self.weights, self.damping)
        if self.rise <= 0:
            raise ValueError(f"method.rise={self.rise} must be positive")

    def influences(self, subject: Subject) -> Influences:
        evaluated = EvaluationSet(subject.subsets)
        before = evaluated.losses_at_theta0(subject)
        inverse = inverse_frequency(subject, self.damping)
        with vectors() as kept:
            slopes = subject.parts(
                {
                    corpus: self._slope(subject, corpus, data, inverse, kept)
                    for corpus, data in subject.corpora.items()
                },
                "untrac_newton: gradients of corpora",
            )
            slope, unbiased = (
                sum(float(part[name]) for part in slopes.values()) / len(slopes)
                for name in ("slope", "unbiased")
            )
            if slope == 0:
                raise ValueError("method=untrac_newton: the gradients of all corpora are 0")
            unit = unbiased / slope if unbiased > 0 else 1.0
            eta = self.rise / slope
            seen = subject.parts(
                {
                    corpus: self._step(subject, corpus, data, eta * inverse, kept, evaluated)
                    for corpus, data in subject.corpora.items()
                },
                "untrac_newton: corpora unlearned",
            )
        changes = [
            Change(
                corpus, subset, subset, before[subset], after.nll.numpy(), unit,
                after.token_nll.numpy(),
            )
            for corpus, one in seen.items()
            for subset, after in evaluated.losses(subject, one).items()
        ]  # fmt: skip
        return scored(changes, subject.subsets)

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        evaluations = (1 + len(sizes.corpora)) * sizes.subset_tokens
        return sizes.corpus_tokens + evaluations, sizes.corpus_tokens

    def _slope(
        self, subject: Subject, corpus: str, data: Encoded, inverse: Tensor, kept: Vectors[str]
    ) -> Part:
        """Compute the rise of a loss per unit of η, to first order; `kept` gets the gradient.

        The part has slope, of the loss of the sample, and unbiased, of that of the corpus.
        """

        def compute() -> Arrays:
            halves = _halves(subject, data)
            vector = _mean(halves)
            kept.append(corpus, vector)
            slope = float(vector.double().square() @ inverse.double())
            first, last = halves[0][0].double(), halves[-1][0].double()
            unbiased = float((first * last) @ inverse.double()) if len(halves) > 1 else slope
            return {"slope": np.array(slope), "unbiased": np.array(unbiased)}

        reads = {"unlearned": [data], "trained on": subject.trained_on.values()}
        return Part("slope", compute, reads, draws=False)

    def _step(
        self,
        subject: Subject,
        corpus: str,
        data: Encoded,
        rates: Tensor,
        kept: Vectors[str],
        evaluated: EvaluationSet,
    ) -> Part:
        """Compute nll (N,), nats of each evaluated example after a step with `rates` (P,)."""

        def compute() -> Arrays:
            vector = kept.get(corpus)
            if vector is None:  # its slope was stored by an earlier run or another process
                vector = _mean(_halves(subject, data))
            with subject.leaving_theta0() as model, torch.no_grad():
                weights = parameters(model)
                steps = (rates * vector).split([weight.numel() for weight in weights])
                for weight, step in zip(weights, steps, strict=True):
                    weight.add_(step.view_as(weight).to(weight))
                return evaluated.evaluate(subject)

        reads = {
            "unlearned": [data],
            "corpora": subject.corpora.values(),
            "trained on": subject.trained_on.values(),
            "evaluated": evaluated.datasets.values(),
        }
        return Part("step", compute, reads, draws=False)


def _halves(subject: Subject, data: Encoded) -> list[tuple[Tensor, int]]:
    """Return the gradient (P,) and number of scored tokens of every other example and of the rest.

    A half without scored tokens, as of one example, is left out.
    """
    halves = [data.select(torch.arange(i, len(data), 2)) for i in (0, 1)]
    scored = [half for half in halves if half.scored.sum()]
    return [(gradient(subject, half).cpu(), int(half.scored.sum())) for half in scored]


def _mean(halves: list[tuple[Tensor, int]]) -> Tensor:
    """Return the gradient (P,) per token of all halves."""
    tokens = sum(n for _, n in halves)
    return torch.stack([vector * (n / tokens) for vector, n in halves]).sum(0)
