"""The loss of θ0, which must be finite and should be below that of a uniform guess."""

import math

import numpy as np

from untrac_exp.methods.base import Arrays, Subject, Subset
from untrac_exp.models.loss import example_losses, vocab_size

_DRAWN = 1024
"""Tokens of each corpus on which the loss must be finite."""
_CLEARLY = 0.9
"""A loss above this share of a uniform guess's is not clearly below it."""


def losses_at_theta0(subject: Subject) -> dict[Subset, float]:
    """Return θ0's loss on each test subset in nats per token, a part that methods share.

    Raises:
        ValueError: it is not finite, or not on a draw of a corpus.
    """

    def compute() -> Arrays:
        losses = {"/".join(name): subject.losses(data).mean for name, data in read.items()}
        drawn = {name: data.select(data.token_sample(_DRAWN, 0)) for name, data in corpora.items()}
        for name, data in drawn.items():  # not a cost of the method
            losses[f"corpus {name}"] = example_losses(model, data, subject.max_tokens).mean
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise ValueError(
                    f"model: θ0's loss on {name} is {loss}; give weights that are finite, and a "
                    "dtype in which they do not overflow (model.dtype=float32)"
                )
        return {"loss": np.array(list(losses.values())[: len(read)])}

    read, corpora, model = subject.subsets, subject.corpora, subject.model
    reads = {"subsets": read.values(), "corpora": corpora.values()}
    loss = subject.part("θ0", compute, reads, draws=False, of_theta0=True)["loss"]
    return dict(zip(read, map(float, loss), strict=True))


def by_testset(losses: dict[Subset, float], subject: Subject) -> dict[str, dict[str, float]]:
    """Return θ0's loss and that of a uniform guess on each test set, in nats per token."""
    uniform = math.log(vocab_size(subject.model))
    sums: dict[str, tuple[float, int]] = {}
    for subset, loss in losses.items():
        n = int(subject.subsets[subset].scored.sum())
        nats, tokens = sums.get(subset.testset, (0.0, 0))
        sums[subset.testset] = nats + n * loss, tokens + n
    return {
        name: {"loss": nats / tokens, "uniform": uniform} for name, (nats, tokens) in sums.items()
    }


def weak(losses: dict[str, dict[str, float]]) -> list[str]:
    """Warn of a model that is hardly better than a uniform guess."""
    bad = [
        f"{of['loss']:.2f} on '{name}'"
        for name, of in losses.items()
        if of["loss"] > _CLEARLY * of["uniform"]
    ]
    if not bad:
        return []
    uniform = next(iter(losses.values()))["uniform"]
    return [
        f"θ0's loss is {', '.join(bad)}, not clearly below the {uniform:.2f} nats per token of a "
        "uniform guess: it has learned hardly anything of these texts, or the tokenizer is not its "
        "own"
    ]
