"""HIF by LiSSA and by Arnoldi, against the exact damped influence from a dense Hessian."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from tests import dense
from tests.conftest import corpora, make_subject
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods import hif_ekfac
from untrac_exp.methods.common.curvature import TrainingHessian
from untrac_exp.methods.common.krylov import krylov
from untrac_exp.methods.hif_arnoldi import HifArnoldi
from untrac_exp.methods.hif_lissa import HifLissa

ALL = 10**6


@pytest.fixture(scope="module")
def hessian(trained):
    """Of the loss at θ0 on the mixture (P, P), and the eigenvalue farthest from 0."""
    matrix = dense.hessian(trained[0], dense.mixture(make_subject(trained[0], "unused")))
    return matrix, float(torch.linalg.eigvalsh(matrix).abs().max())


def exact(subject, hessian, damping, normalised=False):
    """Influences with the inverse of H + damping × its largest eigenvalue."""
    matrix, largest = hessian
    inverse = torch.linalg.inv(matrix + damping * largest * torch.eye(len(matrix)))
    return dense.influences(subject, inverse, normalised)


def test_arnoldi_keeps_the_eigenpairs_farthest_from_0(fresh_subject, hessian):
    """With few of them, it is the inverse of H restricted to its steepest directions."""
    values, vectors = torch.linalg.eigh(hessian[0])
    kept = values.abs().argsort(descending=True)[:5]
    inverse = vectors[:, kept] / values[kept] @ vectors[:, kept].T
    subject = fresh_subject(max_tokens=1000)
    method = HifArnoldi(60, 5, samples=ALL, basis="float64")
    found = dense.scores(method.influences(subject))
    assert dense.error(found, dense.influences(subject, inverse, True)) <= 1e-3


def test_arnoldi_with_half_precision_on_disk_is_close(fresh_subject):
    def run(basis):
        method = HifArnoldi(30, 15, samples=12, basis=basis)
        return dense.scores(method.influences(fresh_subject(max_tokens=1000)))

    assert dense.error(run("bfloat16"), run("float32")) < 0.05


def test_krylov_goes_on_where_the_matrix_has_few_directions():
    """A matrix of rank 3: the space of a start vector is exhausted after 4 of 10 steps."""
    left = torch.randn(10, 3, dtype=torch.float64)
    matrix = left @ left.T
    with krylov(10, 10, torch.float64) as space:
        projected = space.build(torch.ones(10).double(), [lambda v: matrix @ v] * 10)
        basis = space.rows.clone()
    torch.testing.assert_close(basis @ basis.T, torch.eye(10).double())
    torch.testing.assert_close(torch.from_numpy(projected), basis @ matrix @ basis.T)


def test_lissa_converges_to_the_exact_influence(fresh_subject, hessian):
    def error(iterations):
        method = HifLissa(iterations, samples=ALL, damping=0.2, scale=hessian[1])
        return dense.error(dense.scores(method.influences(subject())), expected)

    def subject():
        return fresh_subject(max_tokens=1000)

    expected = exact(subject(), hessian, 0.2)
    errors = [error(iterations) for iterations in (1, 4, 16, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1
    assert errors[-1] < 1e-4


def test_lissa_estimates_its_scale(fresh_subject, hessian):
    """By three power iterations, here dense, as is the series; each draw is of all sequences."""
    matrix, largest = hessian
    start = torch.randn(
        len(matrix), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    before = matrix @ (matrix @ start)
    scale = float((matrix @ before).norm() / before.norm())
    assert 0.7 * largest < scale < largest
    step = 0.8 * torch.eye(len(matrix)) - matrix / scale
    series = sum(torch.linalg.matrix_power(step, j) for j in range(11)) / scale
    subject = fresh_subject(max_tokens=1000)
    estimated = HifLissa(samples=ALL, damping=0.2).influences(subject)
    expected = dense.influences(fresh_subject(max_tokens=1000), series)
    assert dense.error(dense.scores(estimated), expected) < 1e-6


def test_lissa_says_so_when_it_diverges(subject, hessian):
    method = HifLissa(20, samples=ALL, scale=hessian[1] / 3)
    with pytest.raises(ValueError, match=r"diverges .* raise method\.scale .* method\.damping"):
        method.influences(subject)


def test_fresh_draws_average_to_the_whole(fresh_subject, hessian):
    """Repeats bring series over small draws nearer to the series over all data."""

    def run(**settings):
        method = HifLissa(4, damping=0.3, scale=4 * hessian[1], **settings)
        return dense.scores(method.influences(fresh_subject(seed=1, max_tokens=1000)))

    whole = run(samples=ALL)
    once, often = (dense.error(run(samples=8, repeats=n), whole) for n in (1, 16))
    assert often < 0.6 * once


def unequal(trained, folder):
    """Samples of eight sequences of three corpora, and the mixture they stand for.

    The first is all of its corpus, the second half and the third, of shorter sequences, a fifth.
    """
    ones, threes, fives = corpora().values()
    fives = Encoded(fives.input_ids[:, :4], fives.labels[:, :4], fives.lengths.clamp(max=4))
    copies = {"ones": [ones], "threes": [threes] * 2, "fives": [fives] * 5}
    whole = {name: Encoded.concatenate(parts) for name, parts in copies.items()}
    subject = replace(
        make_subject(trained[0], folder, max_tokens=1000),
        corpora={name: parts[0] for name, parts in copies.items()},
        trained_on=whole,
    )
    return subject, Encoded.concatenate(list(whole.values()))


@pytest.mark.parametrize("kind", [HifLissa, HifArnoldi])
def test_corpora_weigh_as_they_do_in_the_mixture(kind, trained, tmp_path):
    subject, mixture = unequal(trained, tmp_path)
    matrix = dense.hessian(trained[0], mixture)
    largest = float(torch.linalg.eigvalsh(matrix).abs().max())
    if kind is HifLissa:
        method = HifLissa(64, samples=ALL, damping=0.2, scale=largest)
        expected = exact(subject, (matrix, largest), 0.2)
    else:
        method = HifArnoldi(len(matrix), len(matrix), ALL, damping=0.1, basis="float64")
        expected = exact(subject, (matrix, largest), 0.1, True)
    found = dense.scores(method.influences(subject))
    assert dense.error(found, expected) <= 1e-3
    # what it was, a Hessian in which corpora weigh as their samples do, is another
    other = dense.hessian(trained[0], dense.mixture(subject))
    largest = float(torch.linalg.eigvalsh(other).abs().max())
    wrong = exact(subject, (other, largest), 0.2 if kind is HifLissa else 0.1, kind is HifArnoldi)
    assert dense.error(wrong, expected) > 1e-2


def test_small_draws_average_to_the_mixture(trained, tmp_path):
    """Eight draws of three, six and fifteen sequences read every sample a whole number of times."""
    subject, mixture = unequal(trained, tmp_path)
    hessian = TrainingHessian(subject, samples=24)
    vector = hessian.random_vector()
    mean = sum(product(vector) for product in islice(hessian.draws(), 8)) / 8
    torch.testing.assert_close(mean, dense.hessian(trained[0], mixture) @ vector)


def test_the_fisher_is_fitted_on_the_mixture(trained, tmp_path, monkeypatch):
    subject, _ = unequal(trained, tmp_path)
    fitted = []
    monkeypatch.setattr(hif_ekfac, "fit", lambda model, data, *_: fitted.append(data) or {})
    hif_ekfac.HifEkfac(samples=24).influences(subject)
    counts = {name: set(map(tuple, data.input_ids[:, :4].tolist()))
              for name, data in subject.corpora.items()}  # fmt: skip
    rows = [tuple(row) for row in fitted[0].input_ids[:, :4].tolist()]
    assert [sum(row in of for row in rows) for of in counts.values()] == [3, 6, 15]


@pytest.mark.parametrize(
    ("kind", "settings", "key"),
    [
        (HifArnoldi, {"iterations": 3, "keep": 4}, "keep"),
        (HifArnoldi, {"damping": -1.0}, "damping"),
        (HifArnoldi, {"basis": "int8"}, "basis"),
        (HifLissa, {"iterations": 0}, "iterations"),
        (HifLissa, {"damping": 1.0}, "damping"),
        (HifLissa, {"scale": 0.0}, "scale"),
    ],
)
def test_nonsense_is_refused(kind, settings, key):
    with pytest.raises(ValueError, match=rf"^method\.{key}="):
        kind(**settings)


def test_arnoldi_with_all_eigenpairs_is_exact(fresh_subject, hessian):
    size = len(hessian[0])
    assert size <= 500
    subject = fresh_subject(max_tokens=1000)
    method = HifArnoldi(size, size, samples=ALL, damping=0.1, basis="float64")
    found = dense.scores(method.influences(subject))
    assert dense.error(found, exact(subject, hessian, 0.1, True)) <= 1e-3
