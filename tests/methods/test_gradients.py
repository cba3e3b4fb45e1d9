"""GradDot, GradCos and TracIn, against sums over single examples, and against captum."""

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch
from captum.influence import TracInCP
from safetensors.torch import load_model

from tests import dense
from tests.conftest import LR, make_subject, sequences
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods import base
from untrac_exp.methods.base import Subset
from untrac_exp.methods.common import products
from untrac_exp.methods.common.products import dot
from untrac_exp.methods.gradcos import GradCos, cosine
from untrac_exp.methods.graddot import GradDot
from untrac_exp.methods.tracin import TracIn
from untrac_exp.models.loss import token_nll
from untrac_exp.stages.gradient import mean_gradient


def summed_gradients(model, data):
    """(N, P): of each example's summed loss, one backward pass for each."""
    rows = []
    for i in range(len(data)):
        model.zero_grad()
        token_nll(model, data.batch(torch.tensor([i])))[0].sum().backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    model.zero_grad(set_to_none=True)
    return torch.stack(rows)


def brute_force(subject, paths):
    """{cell: one number for each of the checkpoints}, pair of examples by pair of examples."""
    found = {}
    with subject.leaving_theta0() as model:
        for path in paths:
            load_model(model, path)
            rows = {
                name: (summed_gradients(model, data), int(data.scored.sum()))
                for name, data in {**subject.corpora, **subject.subsets}.items()
            }
            for corpus, subset in itertools.product(subject.corpora, subject.subsets):
                (g, tokens), (h, others) = rows[corpus], rows[subset]
                pairs = torch.einsum("ip,jp->ij", g, h)
                value = float(pairs.sum()) / (tokens * others)
                found.setdefault((corpus, *subset), []).append(value)
    return found


def test_tracin_works_on_seq2seq_models(seq2seq_subject):
    each = brute_force(seq2seq_subject, [c.path for c in seq2seq_subject.checkpoints])
    expected = {cell: LR * sum(values) for cell, values in each.items()}
    found = dense.scores(TracIn().influences(seq2seq_subject))
    assert dense.error(found, expected) < 1e-4  # float32


def test_tracin_without_checkpoints_names_the_remedy(subject):
    subject.checkpoints = []
    with pytest.raises(ValueError, match=r"pretraining\.checkpoint_every .* method=graddot"):
        TracIn().influences(subject)


def test_a_dataset_without_gradient_has_no_direction():
    zero, other = torch.zeros(3), torch.ones(3)
    assert cosine(zero, other) == cosine(zero, zero) == 0.0


class Examples(torch.utils.data.Dataset):
    """The examples of a dataset as captum wants them: inputs and labels."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data.input_ids[i].long(), self.data.labels[i].long()


class Logits(torch.nn.Module):
    """The model as a function from tokens (N, T) to logits (N, T, V); padding is not scored."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(input_ids=ids).logits


def summed_loss(logits, labels):
    """(N,) of each example, summed over its tokens."""
    nll = torch.nn.functional.cross_entropy(
        logits[:, :-1].mT, labels[:, 1:], ignore_index=-100, reduction="none"
    )
    return nll.sum(1)


@pytest.fixture
def by_captum(trained):
    """A function from checkpoints to captum's answers; cosines where asked for."""
    subject = make_subject(trained[0], "unused")
    datasets = {**subject.corpora, **subject.subsets}
    everything = Encoded.concatenate(list(datasets.values()))
    sizes = [len(data) for data in datasets.values()]

    def load(wrapper, checkpoint):
        load_model(wrapper.model, checkpoint.path)
        return checkpoint.rates

    def compute(checkpoints, normalised=False):
        tracer = TracInCP(
            Logits(subject.model), Examples(everything), checkpoints,
            checkpoints_load_func=load, loss_fn=summed_loss, batch_size=len(everything),
        )  # fmt: skip
        pairs = tracer.influence((everything.input_ids.long(), everything.labels.long()))
        sums = {}  # of the examples of two datasets, in nats per token
        for left, rows in zip(datasets, pairs.split(sizes), strict=True):
            for right, block in zip(datasets, rows.split(sizes, dim=1), strict=True):
                tokens = datasets[left].scored.sum() * datasets[right].scored.sum()
                sums[left, right] = float(block.sum() / tokens)
        return {
            (corpus, *subset): sums[corpus, subset]
            / ((sums[corpus, corpus] * sums[subset, subset]) ** 0.5 if normalised else 1)
            for corpus, subset in itertools.product(subject.corpora, subject.subsets)
        }

    return compute


def only_last(trained):
    """θ0 itself as one checkpoint of rate 1, which makes TracIn GradDot."""
    return [trained[1][-1]._replace(rates=1.0)]


def test_graddot_is_captums(subject, trained, by_captum):
    found = dense.scores(GradDot().influences(subject))
    assert dense.error(found, by_captum(only_last(trained))) < 1e-6


def test_gradcos_is_captums(subject, trained, by_captum):
    found = dense.scores(GradCos().influences(subject))
    assert dense.error(found, by_captum(only_last(trained), normalised=True)) < 1e-6
    assert max(found.values()) == pytest.approx(1.0)  # the corpus and its copy
    assert found["threes", "copies", "threes"] == pytest.approx(1.0)


def test_tracin_is_captums(subject, trained, by_captum):
    assert len(trained[1]) == 3
    subject.checkpoints = [c._replace(rates=LR * (i + 1)) for i, c in enumerate(trained[1])]
    found = dense.scores(TracIn().influences(subject))
    assert dense.error(found, by_captum(subject.checkpoints)) < 1e-6


# --- How often many corpora are read, what waits on disk meanwhile, and that answers are the same
CHECKPOINTS, SUBSETS = 3, 4


@pytest.fixture
def many(subject):
    """Six corpora, four subsets in three test sets, three checkpoints."""
    subject.corpora = {f"corpus {i}": sequences(i, 1 + i, 5 + i) for i in range(6)}
    cells = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")]
    subject.subsets = {Subset(*cell): sequences(9 + i, i, 4) for i, cell in enumerate(cells)}
    assert len(subject.checkpoints) == CHECKPOINTS
    return subject


@pytest.fixture
def few(many):
    """The same with fewer corpora than subsets."""
    return replace(many, corpora=dict(list(many.corpora.items())[:3]))


@pytest.mark.parametrize("kind", ["many", "few"])
def test_the_products_are_those_of_gradients_taken_one_by_one(kind, request):
    """Bit by bit, whichever of the two waits on disk."""
    subject = request.getfixturevalue(kind)
    found = TracIn().influences(subject).scores.set_index(["corpus", "testset", "subset"])
    expected = dict.fromkeys(found.index, 0.0)
    with subject.leaving_theta0() as model:
        for checkpoint in subject.checkpoints:
            load_model(model, checkpoint.path)
            slope = {
                name: mean_gradient(model, data, subject.max_tokens).float()
                for name, data in {**subject.corpora, **subject.subsets}.items()
            }
            for corpus, *subset in expected:
                product = dot(slope[corpus], slope[Subset(*subset)])
                expected[corpus, *subset] += LR * product
    assert found["influence"].to_dict() == expected


@pytest.mark.parametrize("kind", ["many", "few"])
def test_the_fewer_are_solved_and_corpora_normalised(kind, request):
    subject = request.getfixturevalue(kind)
    calls = []

    def solve(vector):
        calls.append(vector)
        return 2 * vector.roll(1)

    found = products.products(subject, "solved", dot, solve, normalised=True)
    assert len(calls) == min(len(subject.corpora), SUBSETS)
    slope = partial(mean_gradient, subject.model, max_tokens=subject.max_tokens)
    for row in base.score_table(subject, found).itertuples():
        corpus, subset, value = row.corpus, base.Subset(row.testset, row.subset), row.influence
        g, h = slope(subject.corpora[corpus]), slope(subject.subsets[subset])
        g = g / g.norm()
        g, h = (2 * g.roll(1), h) if kind == "few" else (g, 2 * h.roll(1))
        assert value == pytest.approx(dot(g, h), rel=1e-4)


def test_tracin_is_the_sum_over_examples_and_checkpoints(subject):
    paths = [checkpoint.path for checkpoint in subject.checkpoints]
    assert len(paths) == 3
    each = brute_force(subject, paths)
    subject.checkpoints = [
        c._replace(rates=LR * (i + 1)) for i, c in enumerate(subject.checkpoints)
    ]
    expected = {cell: LR * (a + 2 * b + 3 * c) for cell, (a, b, c) in each.items()}
    assert dense.error(dense.scores(TracIn().influences(subject)), expected) < 1e-6
