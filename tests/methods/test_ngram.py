"""The n-gram surrogate against one that is trained by counting, corpus by corpus."""

from collections import Counter, defaultdict
from math import log

import numpy as np
import pytest

from tests.conftest import VOCAB, corpora, sequences, subsets
from untrac_exp.data.encoding import IGNORED, pad
from untrac_exp.methods.ngram import NGram, token_losses


class Counted:
    """Interpolated Witten-Bell, one probability at a time."""

    def __init__(self, sequences, order, vocab_size):
        self.order, self.vocab_size = order, vocab_size
        self.after = defaultdict(Counter)
        for sequence in sequences:
            for i, token in enumerate(sequence):
                for n in range(min(order - 1, i) + 1):
                    self.after[tuple(sequence[i - n : i])][token] += 1

    def probability(self, context, token):
        lower = self.probability(context[1:], token) if context else 1 / self.vocab_size
        seen = self.after.get(tuple(context))
        if not seen:
            return lower
        return (seen[token] + len(seen) * lower) / (seen.total() + len(seen))

    def losses(self, data):
        """Nats of every scored token."""
        ids = data.labels if data.seq2seq else data.input_ids
        for row, labels in zip(ids.tolist(), data.labels.tolist(), strict=True):
            for i, (token, label) in enumerate(zip(row, labels, strict=True)):
                if label != IGNORED and (i or data.seq2seq):
                    context = row[max(0, i - self.order + 1) : i]
                    yield -log(self.probability(context, token))


def texts(data):
    ids, lengths = (
        (data.labels, (data.labels != IGNORED).sum(1))
        if data.seq2seq
        else (data.input_ids, data.lengths)
    )
    return [row[:n] for row, n in zip(ids.tolist(), lengths.tolist(), strict=True)]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("seq2seq", [False, True])
def test_losses_are_those_of_counting(order, seq2seq):
    trained_on = corpora(seq2seq)
    for data in subsets(seq2seq).values():
        found = token_losses(trained_on, data, order, VOCAB)
        for left_out, row in zip([None, *trained_on], found, strict=True):
            kept = [t for name, d in trained_on.items() if name != left_out for t in texts(d)]
            expected = list(Counted(kept, order, VOCAB).losses(data))
            np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_probabilities_sum_to_one():
    """Of all tokens after one context, seen with some of them."""
    rows = [[2, 3, token] for token in range(VOCAB)]
    data = pad(rows, [[IGNORED, IGNORED, token] for *_, token in rows], False)
    found = token_losses(corpora(), data, 3, VOCAB)
    np.testing.assert_allclose(np.exp(-found).sum(1), 1)


def test_one_corpus_leaves_the_uniform_model_without_it():
    data = sequences(3, 1)
    found = token_losses({"ones": data}, data, 3, VOCAB)
    np.testing.assert_allclose(found[1], log(VOCAB))


def test_influence_is_the_rise_in_nats_per_token(subject):
    scores = NGram(order=2).influences(subject).scores.set_index(["corpus", "testset", "subset"])
    for subset, data in subject.subsets.items():
        nll = token_losses(subject.trained_on, data, 2, VOCAB).mean(1)
        for corpus, after in zip(subject.trained_on, nll[1:], strict=True):
            row = scores.loc[(corpus, *subset)]
            assert row["influence"] == pytest.approx(after - nll[0])
            assert row["ci_low"] <= row["influence"] <= row["ci_high"]


def test_a_vocabulary_that_numbers_cannot_hold_is_one_line(subject):
    with pytest.raises(ValueError, match=r"method\.order=40 is too large"):
        NGram(order=40).influences(subject)
