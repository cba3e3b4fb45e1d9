"""What every method holds to; they are found by their files in conf/method."""

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from tests.conftest import LR, made_training, make_subject, opt
from tests.test_config import composed
from untrac_exp.config.schema import config_dir
from untrac_exp.methods.base import Subset
from untrac_exp.stages.pretraining import PretrainingSettings
from untrac_exp.stages.schedule import Schedule

METHODS = sorted(file.stem for file in (config_dir() / "method").glob("*.yaml"))
COLUMNS = ["corpus", "testset", "subset", "influence"]


def ask(name, subject):
    try:
        return instantiate(composed(f"method={name}").method).influences(subject)
    except InstantiationException as error:  # an extra is missing
        if "pip install" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return request.param


@pytest.fixture(scope="module")
def theta0(trained):
    """In float32, as methods have it outside of tests."""
    return copy.deepcopy(trained[0]).float()


@pytest.fixture(scope="module")
def asked(method, theta0, trained, tmp_path_factory):
    """Two subjects alike, each with a store of its own, and what the method said of each."""
    folder = tmp_path_factory.mktemp(method)
    adam = partial(torch.optim.Adam, lr=LR, eps=1e-4)  # smooth enough for magic
    settings = PretrainingSettings(60, 7, adam, 0.0, 20, Schedule(2, None))
    subjects = [
        make_subject(
            theta0, folder / str(i), trained[1], max_tokens=1000,
            training=made_training(opt(), settings),
        )
        for i in range(2)
    ]  # fmt: skip
    return [(subject, ask(method, subject)) for subject in subjects]


def test_every_corpus_has_an_influence_on_every_subset(asked):
    subject, answer = asked[0]
    assert list(answer.scores.columns) == COLUMNS
    cells = list(zip(*(answer.scores[name] for name in COLUMNS[:3]), strict=True))
    expected = {
        (corpus, *subset) for corpus, subset in itertools.product(subject.corpora, subject.subsets)
    }
    assert set(cells) == expected
    assert len(cells) == len(expected)
    assert np.isfinite(answer.scores["influence"]).all()


def test_the_same_job_gives_the_same_bits(asked):
    (_, first), (_, second) = asked
    for one, other in zip(
        (first.scores, first.trajectory, first.own_loss),
        (second.scores, second.trajectory, second.own_loss),
        strict=True,
    ):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.equals(other)


def test_the_weights_are_as_they_were(asked, theta0):
    subject, _ = asked[0]
    before = theta0.state_dict()
    after = subject.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not subject.model.training


def test_a_copied_corpus_matters_most_to_its_copy(asked, method):
    _, answer = asked[0]
    if method == "corpus_loss":  # the one method that does not read the test sets
        assert answer.scores.groupby("corpus")["influence"].nunique().eq(1).all()
        return
    copied = Subset("copies", "threes")
    scores = answer.scores.set_index(["testset", "subset"]).loc[[copied]]
    scores = scores.set_index("corpus")["influence"]
    assert scores.idxmax() == copied.subset
    assert scores.max() > 0


def test_what_it_costs_is_counted(asked, method):
    subject, _ = asked[0]
    meter = subject.meter
    if method in ("unigrams", "bm25", "tfidf"):  # these read no model
        assert meter.forward_tokens == meter.backward_tokens == 0
    elif method in ("ngram", "corpus_loss"):  # these take no gradients
        assert meter.forward_tokens > meter.backward_tokens == 0
    else:
        assert meter.forward_tokens >= meter.backward_tokens > 0


def test_an_answer_is_kept(asked, method):
    """Asked again, a method that evaluates no losses reads it from the store."""
    subject, answer = asked[0]

    def fail(*args, **kwargs):
        raise AssertionError("the model was run again")

    hook = subject.model.register_forward_pre_hook(fail)
    try:
        if answer.trajectory is None:
            assert ask(method, subject).scores.equals(answer.scores)
    finally:
        hook.remove()
