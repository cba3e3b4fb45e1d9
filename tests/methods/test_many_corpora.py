"""How often many corpora are read, what waits on disk meanwhile, and that answers are the same."""

from dataclasses import replace
from functools import partial

import pytest
from safetensors.torch import load_model

from tests.conftest import LR, sequences
from untrac_exp.methods import base
from untrac_exp.methods.base import Subset
from untrac_exp.methods.common import products
from untrac_exp.methods.common.products import dot
from untrac_exp.methods.tracin import TracIn
from untrac_exp.stages.gradient import mean_gradient

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
