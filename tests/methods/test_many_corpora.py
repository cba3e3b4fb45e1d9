"""How often many corpora are read, what waits on disk meanwhile, and that answers are the same."""

import tempfile
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_model

from tests.conftest import LR, sequences
from untrac_exp.methods import base
from untrac_exp.methods.base import Subset
from untrac_exp.methods.common import products
from untrac_exp.methods.common.products import dot
from untrac_exp.methods.tracin import TracIn
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.stages.gradient import mean_gradient
from untrac_exp.stages.unlearning import Stopping

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


@pytest.fixture
def spy(monkeypatch, tmp_path):
    """Counts of checkpoints loaded and of datasets read, and the most bytes of gradients."""
    seen = Counter()
    disk = tmp_path / "gradients"
    disk.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(disk))

    def look():
        size = sum(file.stat().st_size for file in disk.rglob("*.npy"))
        seen["bytes"] = max(seen["bytes"], size)

    def load(model, path, **kwargs):
        seen[path.stem] += 1
        return load_model(model, path, **kwargs)

    def read(model, data, *args, **kwargs):
        seen[data.fingerprint] += 1
        look()
        return mean_gradient(model, data, *args, **kwargs)

    monkeypatch.setattr(products, "load_model", load)
    monkeypatch.setattr(products, "mean_gradient", read)
    seen["left"] = lambda: list(disk.iterdir())
    return seen


def bytes_of(n, subject):
    """At most, of `n` gradients in numpy's files."""
    return n * (128 + 4 * sum(p.numel() for p in subject.model.parameters()))


@pytest.mark.parametrize("kind", ["many", "few"])
def test_each_checkpoint_is_loaded_and_each_dataset_read_once(kind, spy, request):
    subject = request.getfixturevalue(kind)
    datasets = [*subject.corpora.values(), *subject.subsets.values()]
    TracIn().influences(subject)
    assert {spy[one.path.stem] for one in subject.checkpoints} == {1}
    assert {spy[data.fingerprint] for data in datasets} == {CHECKPOINTS}
    least = min(len(subject.corpora), SUBSETS)
    assert bytes_of(least - 1, subject) < spy["bytes"] <= bytes_of(least, subject)
    assert spy["left"]() == []


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


def test_untrac_inv_reads_all_corpora_once_a_reading(many, monkeypatch):
    read = Counter()
    losses = base.example_losses

    def count(model, data, *args):
        read[len(data)] += 1
        return losses(model, data, *args)

    monkeypatch.setattr(base, "example_losses", count)
    stopping = Stopping(steps=5, evaluations=3)
    optimizer = partial(torch.optim.SGD, lr=0.01)
    answer = UnTracInv(optimizer, Ascent(), stopping, batch_size=99).influences(many)
    readings = len(stopping.schedule(5))
    everything = sum(map(len, many.corpora.values()))
    # θ0 once, then at each scheduled step of each subset's run; the probes are the subsets' own
    assert read == {everything: 1 + SUBSETS * readings, 4: SUBSETS * (1 + readings)}
    assert np.isfinite(answer.scores["influence"]).all()
    assert len(answer.scores) == len(many.corpora) * SUBSETS
