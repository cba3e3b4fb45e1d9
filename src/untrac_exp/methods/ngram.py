r"""N-gram surrogate: leave-dataset-out retraining of an n-gram model of the corpora.

.. math::
    I(Z', Z) = L(Z'; p_{-Z}) - L(Z'; p), \qquad
    p(w \mid h) = \frac{c(h, w) + \kappa\, t(h)\, p(w \mid h')}{c(h) + \kappa\, t(h)}

with c(h, w) the count of token w after context h in the corpora, t(h) the number of distinct tokens
after it, and h' the context without its first token; below the empty context p is 1/V. This is
interpolated Witten-Bell smoothing of strength κ. :math:`p_{-Z}` subtracts the counts of corpus Z
and scales the remaining counts up to the original number of tokens, as a counterfactual model is
trained for the same number of steps. This is exact leave-dataset-out for a much simpler model. L is
in nats per token of the attributed model's tokenizer.

The only quantity taken from the attributed model is its loss on Z'. The surrogate has the lowest
order, and then the strongest smoothing, at which its loss on Z' is at most the model's. So a weakly
trained model gets a surrogate that relies on frequent tokens. If the model's loss is below that of
every n-gram model, the best n-gram model is used.

The method detects n-grams that a test text shares with each corpus. It does not detect what the
model learned from longer contexts.

Source of the smoothing: Witten and Bell, "The Zero-Frequency Problem: Estimating the Probabilities
of Novel Events in Adaptive Text Compression", IEEE Transactions on Information Theory, 1991,
method C; interpolated as in Chen and Goodman, "An Empirical Study of Smoothing Techniques for
Language Modeling", Computer Speech and Language, 1999. Matching the model's loss is this project's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.methods.base import Arrays, Change, Influences, Method, Subject
from untrac_exp.methods.common.scores import scored, some
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.methods.common.theta0 import losses_at_theta0
from untrac_exp.models.loss import Losses, vocab_size

_LARGEST = 2**63
"""A context and a token are encoded in one int64."""

_STRENGTHS = (1e-2, 1e4)
"""Search range of κ."""


@dataclass(frozen=True)
class NGram(Method):
    """N-gram surrogate.

    Args:
        order: maximum length of an n-gram in tokens, including the predicted one.

    Raises:
        ValueError: `order` is below 1.
    """

    order: int = 3

    def __post_init__(self) -> None:
        if self.order < 1:
            raise ValueError(f"method.order={self.order} must be at least 1")

    def influences(self, subject: Subject) -> Influences:
        vocabulary = vocab_size(subject.model)
        if (vocabulary + 1) ** self.order >= _LARGEST:
            raise ValueError(
                f"method.order={self.order} is too large for a vocabulary of {vocabulary} tokens"
            )
        changes, weak, at_theta0 = [], [], losses_at_theta0(subject)
        for subset, data in subject.subsets.items():
            losses = self._losses(subject, data, vocabulary, at_theta0[subset])
            before, *without = (
                Losses(torch.from_numpy(nll), data.scored, torch.from_numpy(token_nll))
                for nll, token_nll in zip(losses["nll"], losses["tokens"], strict=True)
            )
            for corpus, after in zip(subject.trained_on, without, strict=True):
                changes.append(Change(corpus, subset, subset, before, after))
            ours, model = float(losses["surrogate"]), at_theta0[subset]
            if ours > model + 0.1:
                weak.append(f"{'/'.join(subset)} ({ours:.2f} against {model:.2f})")
        warnings = [
            "no n-gram model has a loss as low as the model's, so the scores miss what it learned "
            f"from longer contexts: {some(weak)}"
        ]
        return scored(changes, subject.subsets, warnings=warnings if weak else [])

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        return sizes.subset_tokens, 0

    def _losses(self, subject: Subject, data: Encoded, vocab_size: int, model: float) -> Arrays:
        """Compute losses of all examples of a subset under the surrogate.

        model: the attributed model's loss.

        Returns:
            nll (1 + Z, N), in nats per example, with all corpora and without each; tokens
            (1 + Z, T), those of each token if the subject asks for it; surrogate, a scalar in nats
            per token.
        """

        def compute() -> Arrays:
            examples = _grams(data, 1, vocab_size, scored=True)[1]
            nll = matched_losses(subject.trained_on, data, self.order, vocab_size, model)
            sums = np.zeros((len(nll), len(data)))
            for row, values in zip(sums, nll, strict=True):
                np.add.at(row, examples, values)
            tokens = nll if subject.by_token else nll[:, :0]
            return {"nll": sums, "tokens": tokens, "surrogate": nll[0].mean()}

        reads = {"corpora": subject.trained_on.values(), "subset": [data]}
        return subject.part("losses", compute, reads, draws=False)


class Counts(NamedTuple):
    """Counts of one order at T scored tokens, over all corpora and then without each of Z.

    Attributes:
        gram: (1 + Z, T) c(h, w).
        context: (1 + Z, T) c(h), 0 if h does not occur.
        types: (1 + Z, T) t(h).
    """

    gram: np.ndarray
    context: np.ndarray
    types: np.ndarray


def matched_losses(
    corpora: Mapping[str, Encoded],
    data: Encoded,
    order: int,
    vocab_size: int,
    loss: float,
) -> np.ndarray:
    """Return `token_losses` of the weakest n-gram model whose mean loss is at most `loss`.

    Args:
        corpora: the Z corpora to count.
        data: the test subset.
        order: maximum order; if no model reaches `loss`, the best of this order is used.
        vocab_size: V.
        loss: target mean loss in nats per token.
    """
    orders: list[Counts] = []
    for n in range(1, order + 1):
        orders.append(count(corpora, data, n, vocab_size))

        def excess(log_strength: float) -> float:
            complete = [Counts(*(array[:1] for array in counts)) for counts in orders]
            nll = token_losses(complete, np.exp(log_strength), vocab_size)[0]
            return float(nll.mean()) - loss

        low, high = np.log(_STRENGTHS)
        best = minimize_scalar(excess, bounds=(low, high), method="bounded", options={"xatol": 0.1})
        if best.fun <= 0:
            strength = high if excess(high) <= 0 else brentq(excess, best.x, high, xtol=0.01)
            return token_losses(orders, np.exp(strength), vocab_size)
    return token_losses(orders, np.exp(best.x), vocab_size)


def token_losses(orders: Sequence[Counts], strength: float, vocab_size: int) -> np.ndarray:
    """Return the loss of each scored token, with all corpora and then without each.

    Args:
        orders: the counts of order 1, 2, ...
        strength: κ.
        vocab_size: V.

    Returns:
        (1 + Z, T) in nats.
    """
    probability = np.full_like(orders[0].context, 1 / vocab_size)
    for gram, context, types in orders:
        known = context > 0
        smoothed = gram + strength * types * probability
        total = np.where(known, context + strength * types, 1)
        probability = np.where(known, smoothed / total, probability)
    return -np.log(probability)


def count(corpora: Mapping[str, Encoded], data: Encoded, n: int, vocab_size: int) -> Counts:
    """Count n-grams of order n at the scored tokens of `data`, in the order of its examples."""
    gram, _, whole = _grams(data, n, vocab_size, scored=True)
    context = gram // (vocab_size + 1)
    wanted = np.unique(context[whole])
    grams, counts = _continuations(corpora, n, vocab_size, wanted)
    group = np.searchsorted(wanted, grams // (vocab_size + 1))
    # (1 + Z, G): of all corpora, then without each
    total = counts.sum(0, keepdims=True)
    counts = np.concatenate([total, total - counts])
    sizes = np.array([int(data.lengths.sum()) for data in corpora.values()], float)
    left = np.array([1.0, *((sizes.sum() - sizes) / sizes.sum())])[:, None]
    scale = np.divide(1, left, out=np.zeros_like(left), where=left > 0)
    contexts, types = (
        np.stack([np.bincount(group, row, len(wanted)) for row in rows])
        for rows in (counts, counts > 0)
    )
    return Counts(
        scale * _look_up(grams, counts, gram),
        np.where(whole, scale * _look_up(wanted, contexts, context), 0),
        _look_up(wanted, types, context),
    )


def _grams(
    data: Encoded, n: int, vocab_size: int, scored: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the id of the n-gram ending at each token, its example, and whether it is complete.

    scored: only at scored tokens. A token with fewer than n - 1 tokens before it is incomplete.
    """
    ids = (data.labels if data.seq2seq else data.input_ids).numpy().astype(np.int64)
    there = ids != IGNORED
    if not data.seq2seq:
        there &= np.arange(ids.shape[1]) < data.lengths.numpy()[:, None]
    gram = np.zeros_like(ids)
    for back in range(n - 1, -1, -1):
        shifted = np.zeros_like(ids)
        shifted[:, back:] = ids[:, : ids.shape[1] - back] if back else ids
        gram = gram * (vocab_size + 1) + shifted
    whole = np.broadcast_to(np.arange(ids.shape[1]) >= n - 1, ids.shape)
    chosen = there
    if scored:
        chosen = data.labels.numpy() != IGNORED
        if not data.seq2seq:  # the first token is never predicted
            chosen = chosen & (np.arange(ids.shape[1]) > 0)
    rows, columns = np.nonzero(chosen)
    return gram[rows, columns], rows, whole[rows, columns]


def _continuations(
    corpora: Mapping[str, Encoded], n: int, vocab_size: int, contexts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted n-grams (G,) that continue `contexts`, and counts by corpus (Z, G)."""
    counted = []
    for data in corpora.values():
        gram, _, whole = _grams(data, n, vocab_size)
        gram = gram[whole]
        gram = gram[np.isin(gram // (vocab_size + 1), contexts)]
        counted.append(np.unique(gram, return_counts=True))
    grams = np.unique(np.concatenate([gram for gram, _ in counted]))
    counts = np.zeros((len(counted), len(grams)), np.int64)
    for row, (gram, often) in zip(counts, counted, strict=True):
        row[np.searchsorted(grams, gram)] = often
    return grams, counts


def _look_up(grams: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Look up counts (R, G) of sorted ids (G,) at `wanted` (T,): (R, T), 0 if absent."""
    if not len(grams):
        return np.zeros((len(counts), len(wanted)))
    at = np.searchsorted(grams, wanted).clip(max=len(grams) - 1)
    return np.where(grams[at] == wanted, counts[:, at], 0)
