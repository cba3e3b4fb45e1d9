"""The n-gram surrogate against one that is trained by counting, corpus by corpus."""

from collections import Counter, defaultdict
from math import log

import numpy as np
import pytest

from tests.conftest import VOCAB, corpora, sequences, subsets
from untrac_exp.data.encoding import IGNORED
from untrac_exp.methods.ngram import NGram, count, matched_losses, token_losses
from untrac_exp.statistics.intervals import with_intervals


class Counted:
    """Interpolated Witten-Bell, one probability at a time. scale: of every count."""

    def __init__(self, sequences, order, vocab_size, strength, scale):
        self.order, self.vocab_size, self.strength, self.scale = order, vocab_size, strength, scale
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
        smoothing = self.strength * len(seen)
        return (self.scale * seen[token] + smoothing * lower) / (
            self.scale * seen.total() + smoothing
        )

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


def losses(trained_on, data, order, strength=1.0):
    counts = [count(trained_on, data, n, VOCAB) for n in range(1, order + 1)]
    return token_losses(counts, strength, VOCAB)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("seq2seq", [False, True])
def test_losses_are_those_of_counting(order, seq2seq):
    trained_on = corpora(seq2seq)
    sizes = {name: sum(map(int, data.lengths)) for name, data in trained_on.items()}
    for data in subsets(seq2seq).values():
        found = losses(trained_on, data, order, 1.7)
        for left_out, row in zip([None, *trained_on], found, strict=True):
            kept = [t for name, d in trained_on.items() if name != left_out for t in texts(d)]
            scale = sum(sizes.values()) / sum(n for name, n in sizes.items() if name != left_out)
            expected = list(Counted(kept, order, VOCAB, 1.7, scale).losses(data))
            np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_one_corpus_leaves_the_uniform_model_without_it():
    data = sequences(3, 1)
    np.testing.assert_allclose(losses({"ones": data}, data, 3)[1], log(VOCAB))


def test_the_surrogate_is_as_good_as_the_model():
    """Where it can be: by more smoothing, then by longer n-grams; else it is the best there is."""
    trained_on, data = corpora(), subsets()["likenesses", "fives"]
    uniform, best = log(VOCAB), losses(trained_on, data, 2, 0.3).mean(1)[0]
    for wanted in (uniform - 0.05, (uniform + best) / 2):
        found = matched_losses(trained_on, data, 2, VOCAB, wanted)
        assert found[0].mean() == pytest.approx(wanted, abs=0.01)
    found = matched_losses(trained_on, data, 2, VOCAB, 0.1)
    grid = [losses(trained_on, data, 2, strength)[0].mean() for strength in np.geomspace(0.01, 99)]
    assert 0.1 < found[0].mean() <= min(grid) + 1e-3


def test_a_lower_order_is_taken_where_it_does():
    trained_on, data = corpora(), subsets()["copies", "threes"]
    wanted = losses(trained_on, data, 1, 50.0)[0].mean()
    np.testing.assert_allclose(
        matched_losses(trained_on, data, 3, VOCAB, wanted),
        matched_losses(trained_on, data, 1, VOCAB, wanted),
    )


def test_influence_is_the_rise_in_nats_per_token(subject):
    scores = with_intervals(NGram(order=2).influences(subject)).set_index(
        ["corpus", "testset", "subset"]
    )
    for subset, data in subject.subsets.items():
        model = subject.losses(data).mean
        nll = matched_losses(subject.trained_on, data, 2, VOCAB, model).mean(1)
        for corpus, after in zip(subject.trained_on, nll[1:], strict=True):
            row = scores.loc[(corpus, *subset)]
            assert row["influence"] == pytest.approx(after - nll[0])
            assert row["ci_low"] <= row["influence"] <= row["ci_high"]


def test_a_model_that_knows_more_is_warned_of(subject, monkeypatch):
    monkeypatch.setattr(type(subject), "losses", lambda *_: type("L", (), {"mean": 0.0})())
    (warning,) = NGram(order=1).influences(subject).warnings
    assert warning.startswith("no n-gram model has a loss as low as the model's")
    assert "and 1 more" in warning


def test_a_vocabulary_that_numbers_cannot_hold_is_one_line(subject):
    with pytest.raises(ValueError, match=r"method\.order=40 is too large"):
        NGram(order=40).influences(subject)
