"""The truth against models trained by hand, and what it shares and keeps."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.encoding import encode
from untrac_exp.data.prepare import encode_corpus
from untrac_exp.methods.base import Subset
from untrac_exp.methods.leave_dataset_out import LeaveDatasetOut
from untrac_exp.models.loss import example_losses
from untrac_exp.models.scratch import Scratch
from untrac_exp.stages.trainer import TrainerSettings, quiet
from untrac_exp.store import Store
from untrac_exp.training import Pretraining, Training

TEXTS = {"sea": "the waves and the tide ", "wood": "an oak or an elm ", "town": "my roof my wall "}


@pytest.fixture
def world(tmp_path):
    quiet()
    store = Store(tmp_path / "store")
    corpora = [Corpus(name, [Row(text * 4)] * 12) for name, text in TEXTS.items()]
    source = Scratch(
        "opt", block_size=16, vocab_size=280,
        config={
            "hidden_size": 16, "word_embed_proj_dim": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "ffn_dim": 32, "max_position_embeddings": 16, "dropout": 0.0,
        },
    )  # fmt: skip
    tokenizer = source.tokenizer(corpora, store)
    encode_it = partial(
        encode_corpus, tokenizer=tokenizer, block_size=16, seq2seq=False, max_sequences=None,
        store=store,
    )  # fmt: skip
    training = Training(
        source=source, tokenizer=tokenizer,
        corpora={corpus.name: encode_it(corpus) for corpus in corpora},
        settings=Pretraining(
            steps=30, batch_size=4, optimizer=partial(torch.optim.Adam, lr=0.01), clip=1.0,
            checkpoint_every=10,
        ),
        settings_key={"steps": 30, "lr": 0.01}, trainer=TrainerSettings(accelerator="cpu"),
        store=store,
    )  # fmt: skip
    subsets = {
        Subset("t", name): encode([Row(text)], tokenizer, 16, False, name)
        for name, text in TEXTS.items()
    }
    return training, subsets


def test_it_is_the_loss_without_minus_the_loss_with(world):
    training, subsets = world
    truth = LeaveDatasetOut([0]).influences(training, subsets)
    assert len(truth) == 3 * 3
    theta0 = training.recipe(0).load("sdpa")
    for row in truth.itertuples():
        without = training.recipe(0, row.corpus).load("sdpa")
        data = subsets[Subset(row.testset, row.subset)]
        by_hand = example_losses(without, data, 99).mean - example_losses(theta0, data, 99).mean
        assert row.influence == pytest.approx(by_hand, abs=1e-6)


def test_a_text_is_owed_to_the_corpus_it_came_from(world):
    truth = LeaveDatasetOut([0]).influences(*world)
    table = truth.pivot(index="corpus", columns="subset", values="influence")
    assert (table.idxmax() == table.columns).all()
    assert table.to_numpy().diagonal().min() > 0


def test_counterfactual_models_never_see_what_is_left_out(world, monkeypatch):
    training, _ = world
    runs = []
    monkeypatch.setattr(
        "untrac_exp.training.pretrain", lambda model, run, trainer, out: runs.append(run)
    )
    training.recipe(0, "wood").folder()
    training.recipe(0, "wood", "epochs").folder()
    sizes = [len(data) for data in training.data.values()]
    for run in runs:
        kept = run.keep.split(sizes)
        assert [bool(part.any()) for part in kept] == [True, False, True]
        assert [bool(part.all()) for part in kept] == [True, False, True]
    assert runs[0].steps == 30
    assert runs[1].steps == round(30 * (sizes[0] + sizes[2]) / sum(sizes))


def test_each_model_is_trained_once_and_losses_outlive_it(world, monkeypatch):
    training, subsets = world
    first = LeaveDatasetOut([0, 1]).influences(training, subsets)

    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr("untrac_exp.training.pretrain", never)
    again = LeaveDatasetOut([0, 1], workers=2).influences(training, subsets)
    assert first.equals(again)


def test_nothing_left_to_train_on(world):
    training, subsets = world
    alone = replace(training, corpora={"sea": training.corpora["sea"]})
    with pytest.raises(ValueError, match="nothing is left to train on without 'sea'"):
        LeaveDatasetOut([0]).influences(alone, subsets)
