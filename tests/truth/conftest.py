"""A mixture of three corpora that a tiny model learns in thirty steps, and tests like each."""

from functools import partial

import pytest
import torch

from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.prepare import encode, encode_corpus
from untrac_exp.methods.base import Subset
from untrac_exp.models.pretrained import Pretrained
from untrac_exp.models.scratch import Scratch
from untrac_exp.stages.pretraining import PretrainingSettings
from untrac_exp.stages.trainer import TrainerSettings, quiet
from untrac_exp.stages.training import Training
from untrac_exp.store import Store

TEXTS = {"sea": "the waves and the tide ", "wood": "an oak or an elm ", "town": "my roof my wall "}


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path / "store")


def make_world(folder, dropout=0.0, checkpoint=False, texts=TEXTS):
    """The training and the test subsets; checkpoint: of a model read from a folder."""
    quiet()
    store = Store(folder)
    corpora = [Corpus(name, [Row(text * 4)] * 12) for name, text in texts.items()]
    source = Scratch(
        "opt", block_size=16, vocab_size=280,
        config={
            "hidden_size": 16, "word_embed_proj_dim": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "ffn_dim": 32, "max_position_embeddings": 16,
            "dropout": dropout,
        },
    )  # fmt: skip
    tokenizer = source.tokenizer(corpora, store)
    if checkpoint:
        path = folder.with_suffix(".checkpoint")
        source.build(tokenizer, 0).save_pretrained(path)
        source = Pretrained(str(path), block_size=16)
    encode_it = partial(
        encode_corpus, tokenizer=tokenizer, block_size=16, seq2seq=False, max_sequences=None,
        store=store,
    )  # fmt: skip
    training = Training(
        source=source, tokenizer=tokenizer,
        corpora={corpus.name: encode_it(corpus) for corpus in corpora},
        settings=PretrainingSettings(
            steps=30, batch_size=4, optimizer=partial(torch.optim.Adam, lr=0.01), clip=1.0,
            checkpoint_every=10,
        ),
        settings_key={"steps": 30, "lr": 0.01}, trainer=TrainerSettings(accelerator="cpu"),
        store=store,
    )  # fmt: skip
    subsets = {
        Subset("t", name): encode([Row(text)], tokenizer, 16, False, name)
        for name, text in texts.items()
    }
    return training, subsets
