r"""Retraining a surrogate: an n-gram model of the corpora, and again without each of them.

.. math::
    I(Z', Z) = L(Z'; p_{-Z}) - L(Z'; p), \qquad
    p(w \mid h) = \frac{c(h, w) + t(h)\, p(w \mid h')}{c(h) + t(h)}

with c(h, w) how often token w follows the context h in the corpora, t(h) how many different tokens
follow it, h' the context without its first token, and 1/V under the empty one (interpolated
Witten-Bell smoothing). :math:`p_{-Z}` has the counts of corpus Z taken off, which is what training
it again without Z would give, so this is leave-dataset-out, exactly, of a much simpler model. L is
in nats per token, in the tokens of the model that is asked about; the model itself is not read.

It sees the words that a test text shares with each corpus and with no other. What the trained model
made of them beyond the context's length it cannot see.

Source of the smoothing: Witten and Bell, "The Zero-Frequency Problem: Estimating the Probabilities
of Novel Events in Adaptive Text Compression", IEEE Transactions on Information Theory, 1991,
method C; interpolated as in Chen and Goodman, "An Empirical Study of Smoothing Techniques for
Language Modeling", Computer Speech and Language, 1999.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.methods.base import (
    Arrays,
    Change,
    Influences,
    Method,
    Subject,
    Subset,
    Tokens,
    Work,
    score_row,
)
from untrac_exp.models.loss import Losses

_LARGEST = 2**63
"""A context and a token are numbered by one int64."""


@dataclass(frozen=True)
class NGram(Method):
    """order: tokens of an n-gram, the predicted one among them."""

    order: int = 3

    def __post_init__(self) -> None:
        if self.order < 1:
            raise ValueError(f"method.order={self.order} must be at least 1")

    def influences(self, subject: Subject) -> Influences:
        vocab_size = subject.model.config.vocab_size
        if (vocab_size + 1) ** self.order >= _LARGEST:
            raise ValueError(
                f"method.order={self.order} is too large for a vocabulary of {vocab_size} tokens"
            )
        scores, changes = [], []
        for subset, data in subject.subsets.items():
            found = self._losses(subject, subset, data, vocab_size)
            before = Losses(torch.from_numpy(found["before"]), data.scored)
            for corpus, after in zip(subject.trained_on, found["after"], strict=True):
                scores.append(score_row(corpus, subset, before, after))
                changes.append(Change(corpus, subset, subset, before, after))
        return Influences(pd.DataFrame(scores), changes=changes)

    def tokens(self, work: Work) -> Tokens:
        return Tokens(0, 0)

    def _losses(self, subject: Subject, subset: Subset, data: Encoded, vocab_size: int) -> Arrays:
        """Summed nats of every example, of all corpora (N,) and without each (Z, N)."""

        def compute() -> Arrays:
            nll = token_losses(subject.trained_on, data, self.order, vocab_size)
            examples = _grams(data, 1, vocab_size, scored=True)[1]
            sums = np.zeros((len(nll), len(data)))
            for row, values in zip(sums, nll, strict=True):
                np.add.at(row, examples, values)
            return {"before": sums[0], "after": sums[1:]}

        reads = {"corpora": subject.trained_on.values(), "subset": [data]}
        return subject.part("losses", compute, reads, draws=False)


def token_losses(
    corpora: Mapping[str, Encoded], data: Encoded, order: int, vocab_size: int
) -> np.ndarray:
    """Nats of every scored token: (1 + Z, T), of all corpora first and then without each.

    Tokens stand in the order of the examples of `data`. order: of the n-gram model.
    """
    probability: np.ndarray | float = 1 / vocab_size
    for n in range(1, order + 1):
        gram, _, has_context = _grams(data, n, vocab_size, scored=True)
        context = gram // (vocab_size + 1)
        wanted = np.unique(context[has_context])
        grams, counts = _counts(corpora, n, vocab_size, wanted)
        of_context = np.searchsorted(wanted, grams // (vocab_size + 1))
        # (1 + Z, G) counts of all corpora, then without each
        counts = np.concatenate([counts.sum(0, keepdims=True), counts.sum(0) - counts])
        total = _sum_by(of_context, counts, len(wanted))
        types = _sum_by(of_context, counts > 0, len(wanted))
        at = np.searchsorted(wanted, context).clip(max=max(len(wanted) - 1, 0))
        seen = _look_up(grams, counts, gram)
        if not len(wanted):
            continue
        c, t = total[:, at], types[:, at]
        known = has_context & (c > 0)
        smoothed = (seen + t * probability) / np.where(known, c + t, 1)
        probability = np.where(known, smoothed, probability)
    return -np.log(np.broadcast_to(probability, (1 + len(corpora), len(gram))))


def _grams(
    data: Encoded, n: int, vocab_size: int, scored: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The n-gram that ends at each token, as one number; which example it is of; if it is whole.

    scored: at the scored tokens alone. A token with fewer than n - 1 before it has no whole n-gram.
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


def _counts(
    corpora: Mapping[str, Encoded], n: int, vocab_size: int, contexts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """N-grams (G,) that continue `contexts`, sorted, and how often each corpus has them (Z, G)."""
    found = []
    for data in corpora.values():
        gram, _, whole = _grams(data, n, vocab_size)
        gram = gram[whole]
        gram = gram[np.isin(gram // (vocab_size + 1), contexts)]
        found.append(np.unique(gram, return_counts=True))
    grams = np.unique(np.concatenate([gram for gram, _ in found]))
    counts = np.zeros((len(found), len(grams)), np.int64)
    for row, (gram, count) in zip(counts, found, strict=True):
        row[np.searchsorted(grams, gram)] = count
    return grams, counts


def _sum_by(groups: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """(R, G) values summed over the columns of each of n groups: (R, n)."""
    return np.stack([np.bincount(groups, row, n) for row in values])


def _look_up(grams: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(R, G) counts of sorted n-grams (G,) at the wanted ones (T,): (R, T), 0 where unseen."""
    if not len(grams):
        return np.zeros((len(counts), len(wanted)))
    at = np.searchsorted(grams, wanted).clip(max=len(grams) - 1)
    return np.where(grams[at] == wanted, counts[:, at], 0)
