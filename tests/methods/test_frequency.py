"""hif_frequency and untrac_newton on a model of token frequencies, where retraining is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import CPU, Quacking
from untrac_exp.data.encoding import pad
from untrac_exp.methods.base import Loader, Subject, Subset
from untrac_exp.methods.common.frequency import inverse_frequency
from untrac_exp.methods.hif_frequency import HifFrequency
from untrac_exp.methods.untrac_newton import UnTracNewton, _halves, _mean
from untrac_exp.store import Store

COUNTS = {"a": [40, 30, 20, 10], "b": [10, 20, 30, 40], "c": [26, 24, 26, 24], "d": [4, 6, 84, 6]}
TESTS = {"first": [3, 1, 0, 0], "last": [0, 0, 1, 2], "mixed": [1, 2, 1, 4]}


class Unigram(Quacking):
    """A softmax over one bias per token, its optimum on the corpora of COUNTS."""

    vocab = 4

    def __init__(self):
        super().__init__()
        total = torch.tensor(list(COUNTS.values()), dtype=torch.float64).sum(0)
        self.output = torch.nn.Embedding(4, 1, dtype=torch.float64)
        self.output.weight.data = (total / total.sum()).log()[:, None]

    def get_input_embeddings(self):
        return self.output

    def get_output_embeddings(self):
        return None

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        return SimpleNamespace(logits=self.output.weight[:, 0].expand(*input_ids.shape, -1))


def texts(counts):
    """One text of each token, as often as counted; every other one of each is in one half."""
    return texts_of([token for token, n in enumerate(counts) for _ in range(n)])


def texts_of(tokens):
    """One text of each of these tokens; its first token is not scored."""
    rows = [[int(token)] * 2 for token in tokens]
    return pad(rows, rows, False)


@pytest.fixture
def unigram(tmp_path):
    corpora = {name: texts(counts) for name, counts in COUNTS.items()}
    return Subject(
        load=Loader(lambda: Unigram().eval()),
        corpora=corpora,
        subsets={Subset("t", name): texts(counts) for name, counts in TESTS.items()},
        checkpoints=[],
        trainer=CPU,
        store=Store(tmp_path / "store"),
        key={"a": "job"},
        trained_on=corpora,
    )


def frequencies(counts):
    return np.array(counts) / np.sum(counts)


def scores(method, subject):
    found = method.influences(subject).scores
    return found.pivot(index="corpus", columns="subset", values="influence")


def test_it_is_the_influence_function_of_the_dense_hessian(unigram):
    found = scores(HifFrequency(damping=1e-9), unigram)
    p = frequencies(np.sum([*COUNTS.values()], axis=0))
    inverse = np.linalg.pinv(np.diag(p) - np.outer(p, p))
    for corpus, counts in COUNTS.items():
        for test, wanted in TESTS.items():
            expected = (p - frequencies(counts)) @ inverse @ (p - frequencies(wanted))
            assert found.loc[corpus, test] == pytest.approx(expected, abs=1e-6)


def test_it_is_the_derivative_of_retraining_without_a_corpus(unigram):
    """Of -log of the frequencies, in the weight of the corpus."""
    found = scores(HifFrequency(damping=1e-9), unigram)
    total, small = np.sum([*COUNTS.values()], axis=0), 1e-6
    for corpus, counts in COUNTS.items():
        left = total - small * np.array(counts)
        change = np.log(frequencies(total)) - np.log(frequencies(left))
        for test, wanted in TESTS.items():
            slope = frequencies(wanted) @ change / (small * np.sum(counts) / total.sum())
            assert found.loc[corpus, test] == pytest.approx(slope, abs=1e-4)


def test_a_short_newton_step_is_the_influence_function(unigram, subject):
    for one in (unigram, subject):
        first = HifFrequency(damping=0.1).influences(one).scores
        short = UnTracNewton(rise=1e-4).influences(one).scores
        cells = ["testset", "subset", "corpus"]
        both = first.merge(short, on=cells)
        ratio = both["influence_y"] / both["influence_x"]
        ratio = ratio[both["influence_x"].abs() > 0.01 * both["influence_x"].abs().max()]
        np.testing.assert_allclose(ratio, ratio.iloc[0], rtol=0.02)
        assert ratio.iloc[0] > 0


def test_the_corpora_rise_by_rise_on_average(unigram):
    """Asked about the corpora themselves, the mean of their own influences is the rise."""
    unigram.subsets = {Subset("t", name): data for name, data in unigram.corpora.items()}
    found = scores(UnTracNewton(rise=1e-4), unigram)
    assert np.diag(found.loc[[*COUNTS], [*COUNTS]]).mean() == pytest.approx(1e-4, rel=1e-2)


def test_one_step_size_for_all_corpora(unigram):
    """A softmax moves by η (p - n) / p, with η the same for all."""
    rise = 0.05
    found = scores(UnTracNewton(rise=rise, damping=1e-9), unigram)
    p = frequencies(np.sum([*COUNTS.values()], axis=0))
    away = {corpus: p - frequencies(counts) for corpus, counts in COUNTS.items()}
    eta = rise / np.mean([d @ (d / p) for d in away.values()])
    for corpus, d in away.items():
        moved = np.log(p) + eta * d / p
        change = np.log(p) - (moved - np.log(np.exp(moved).sum()))
        for test, wanted in TESTS.items():
            expected = frequencies(wanted) @ change
            assert found.loc[corpus, test] == pytest.approx(expected, abs=1e-6)


def test_the_unit_does_not_depend_on_the_size_of_the_sample(unigram):
    """A small sample's own loss rises faster than its corpus', by the noise of its gradient."""
    p = frequencies(np.sum([*COUNTS.values()], axis=0))
    random = np.random.default_rng(0)
    wanted = {name: (p - frequencies(n)) @ ((p - frequencies(n)) / p) for name, n in COUNTS.items()}
    found: dict[str, list] = {"slope": [], "unbiased": []}
    for draw in range(60):
        drawn = {
            name: texts_of(random.choice(4, 12, p=frequencies(counts)))
            for name, counts in COUNTS.items()
        }
        subject = replace(unigram, corpora=drawn, key={"draw": draw})
        inverse = inverse_frequency(subject, 1e-9).double()
        for data in drawn.values():
            halves = _halves(subject, data)
            (first, _), (last, _) = halves
            found["slope"].append(float(_mean(halves).square() @ inverse) / len(COUNTS))
            found["unbiased"].append(float((first * last) @ inverse) / len(COUNTS))
    sums = {name: sum(values) / 60 for name, values in found.items()}
    truth = np.mean([*wanted.values()])
    assert sums["unbiased"] == pytest.approx(truth, rel=0.15)
    assert sums["slope"] > 1.5 * truth


def test_scores_are_in_the_unit_of_whole_corpora(unigram):
    """To first order rise · g H⁻¹ g' over the mean of the unbiased rises, not of the samples'."""
    random = np.random.default_rng(1)
    drawn = {
        name: texts_of(random.choice(4, 30, p=frequencies(counts)))
        for name, counts in COUNTS.items()
    }
    subject = replace(unigram, corpora=drawn)
    inverse = inverse_frequency(subject, 0.1).double()
    halves = [_halves(subject, data) for data in drawn.values()]
    unbiased = np.mean([float((a.double() * b.double()) @ inverse) for (a, _), (b, _) in halves])
    own = np.mean([float(_mean(pair).double().square() @ inverse) for pair in halves])
    assert 0 < unbiased < 0.9 * own
    expected = 1e-4 * scores(HifFrequency(damping=0.1), subject) / unbiased
    found = scores(UnTracNewton(rise=1e-4, damping=0.1), subject)
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-6)


def test_one_example_is_its_own_unit(unigram):
    one = {name: texts([1, 0, 0, 0]) for name in COUNTS}
    assert np.isfinite(scores(UnTracNewton(), replace(unigram, corpora=one))).all(axis=None)


def test_other_weights_stay_where_they_are(subject):
    """With method.weights=all in a test's subject, only the embeddings have an influence."""
    embeddings = subject.model.get_input_embeddings().weight
    first = scores(HifFrequency(), subject)
    for parameter in subject.model.parameters():
        parameter.requires_grad_(parameter is embeddings)
    subject.key = {"another": "job"}
    np.testing.assert_allclose(scores(HifFrequency(), subject), first, rtol=1e-4)


@pytest.mark.parametrize("method", [UnTracNewton, HifFrequency])
def test_bad_settings_are_named(method):
    with pytest.raises(ValueError, match=r"method\.damping=0"):
        method(damping=0)
    with pytest.raises(ValueError, match=r"method\.weights=all.*embeddings"):
        method(weights="all")


def test_a_rise_must_be_positive():
    with pytest.raises(ValueError, match=r"method\.rise=0"):
        UnTracNewton(rise=0)
