"""A T5 1.1 whose output layer is not tied to its embeddings, wherever a model is copied or rebuilt.

transformers 5 ties the two in a T5 that is built from its configuration, whatever that says.
"""

import pickle
from functools import partial

import pytest
import torch
from safetensors.torch import load_model
from transformers import AutoModelForSeq2SeqLM

from tests.conftest import CPU
from tests.golden.test_authors import datasets_of, source_of, word_tokenizer
from untrac_exp.stages.pretraining import PretrainingSettings
from untrac_exp.stages.sharding import rebuilt
from untrac_exp.stages.trainer import quiet
from untrac_exp.stages.training import Training
from untrac_exp.store import Store

SETTINGS = PretrainingSettings(6, 2, partial(torch.optim.Adam, lr=1e-2), 1.0, 3)


@pytest.fixture
def source(tmp_path):
    quiet()
    return source_of("t5", tmp_path)


@pytest.fixture
def model(source):
    return source.build(word_tokenizer(), 0)


def assert_untied(model):
    head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert head is not embeddings
    assert head.data_ptr() != embeddings.data_ptr() or head.is_meta
    assert not torch.equal(head, embeddings) if not head.is_meta else True


def assert_equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("tied", [False, True])
def test_a_rebuilt_model_shares_what_the_model_shares(model, tied):
    if tied:
        model.lm_head.weight = model.shared.weight
    copy = rebuilt(model, model.state_dict())
    assert_equal(copy, model)
    assert (copy.lm_head.weight is copy.shared.weight) == tied
    assert copy.encoder.embed_tokens.weight is copy.shared.weight
    assert len(list(copy.parameters())) == len(list(model.parameters()))


@pytest.fixture
def training(source, tmp_path):
    corpora, _ = datasets_of("t5", source)
    folders = {}
    for name in ("dataset1", "dataset2"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        corpora[name].save(folders[name])
    store = Store(tmp_path / "store")
    return Training(source, word_tokenizer(), folders, SETTINGS, {"steps": 6}, CPU, store)


@pytest.mark.parametrize("without", [(), ("dataset2",)])
def test_a_trained_model_is_read_as_it_was(training, without, model, tmp_path):
    """Also by a worker, which gets the specification pickled."""
    spec = training.model_spec(0, without)
    trained = spec.load("sdpa")
    assert_untied(trained)
    for layer in ("shared", "lm_head"):
        assert not torch.equal(getattr(trained, layer).weight, getattr(model, layer).weight)
    if not without:
        load_model(model, spec.checkpoints()[-1])
        assert_equal(model, trained)
    again = pickle.loads(pickle.dumps(training)).model_spec(0, without)
    assert again.id == spec.id
    assert_equal(again.load("eager"), trained)
    trained.save_pretrained(tmp_path / "again")
    assert_equal(AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "again"), trained)
