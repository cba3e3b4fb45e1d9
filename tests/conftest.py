"""Tiny models and corpora, small enough to compare with dense linear algebra."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from tests.command import write_texts
from untrac_exp.data.encoding import Encoded, pad
from untrac_exp.methods.base import Checkpoint, Subject, Subset
from untrac_exp.methods.common.loader import Loader
from untrac_exp.models.loss import mean_loss
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.store import Store

VOCAB = 12
LENGTH = 8
LR = 1e-2
CPU = TrainerSettings(accelerator="cpu")


def opt(dtype=torch.float32, hidden=4, seed=0, **config):
    """An OPT of 288 parameters unless told otherwise; smooth, for differences to converge."""
    config = AutoConfig.for_model(
        "opt",
        **{
            "vocab_size": VOCAB, "hidden_size": hidden, "word_embed_proj_dim": hidden,
            "num_hidden_layers": 1, "num_attention_heads": 1, "ffn_dim": 2 * hidden,
            "max_position_embeddings": LENGTH, "dropout": 0.0, "activation_function": "gelu",
            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, **config,
        },
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def t5(dtype=torch.float32, seed=0):
    config = AutoConfig.for_model(
        "t5", vocab_size=VOCAB, d_model=4, d_kv=2, d_ff=8, num_layers=1, num_heads=2,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    torch.manual_seed(seed)
    return AutoModelForSeq2SeqLM.from_config(config, dtype=dtype).eval()


class Quacking(torch.nn.Module):
    """What the project asks of a `PreTrainedModel`, for models that none can be."""

    vocab: int
    config = property(lambda self: SimpleNamespace(
        is_encoder_decoder=False,
        get_text_config=lambda decoder: SimpleNamespace(vocab_size=self.vocab),
    ))  # fmt: skip
    device = property(lambda self: next(self.parameters()).device)
    dtype = property(lambda self: next(self.parameters()).dtype)

    def get_output_embeddings(self):
        return None


class Quadratic(Quacking):
    """Its loss on token t is exactly 3 + (θ - c_t)' A_t (θ - c_t) / 2, whatever came before t.

    The probability of t is exp(-loss); what is left of 1 goes to token 0, which no text may hold.
    """

    def __init__(self, tokens=4, size=3):
        super().__init__()
        self.vocab = tokens + 1
        generator = torch.Generator().manual_seed(0)
        roots = torch.randn(tokens, size, size, dtype=torch.float64, generator=generator)
        self.register_buffer("curvatures", roots @ roots.mT + torch.eye(size))
        self.register_buffer("centres", torch.randn(tokens, size, generator=generator).double())
        self.theta = torch.nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        away = self.theta - self.centres
        losses = 3 + torch.einsum("ti,tij,tj->t", away, self.curvatures, away) / 2
        rest = torch.log1p(-torch.exp(-losses).sum())
        logits = torch.cat([rest[None], -losses])
        return SimpleNamespace(logits=logits.expand(*input_ids.shape, -1))


class Linear(Quacking):
    """One linear layer with softmax on fixed embeddings of the tokens."""

    vocab = VOCAB

    def __init__(self, size=3, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("embedding", torch.randn(VOCAB, size, dtype=torch.float64))
        self.layer = torch.nn.Linear(size, VOCAB, bias, dtype=torch.float64)

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        return SimpleNamespace(logits=self.layer(self.embedding[input_ids]))


def sequences(seed, favourite, n=8, seq2seq=False, ragged=False):
    """`n` sequences that like to step from a token to that `favourite` further on."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*args):
        return int(torch.randint(*args, (1,), generator=generator))

    rows = []
    for _ in range(n):
        row = [draw(2, VOCAB)]
        while len(row) < (draw(3, LENGTH + 1) if ragged else LENGTH):
            step = favourite if draw(0, 4) else draw(1, VOCAB)
            row.append(2 + (row[-1] - 2 + step) % (VOCAB - 2))
        rows.append(row)
    if seq2seq:
        return pad([row[:-2] for row in rows], [row[-2:] for row in rows], True)
    labels = [[-100, -100, *row[2:]] if ragged else row for row in rows]
    return pad(rows, labels, False)


def corpora(seq2seq=False):
    return {
        name: sequences(seed, favourite, seq2seq=seq2seq)
        for seed, (name, favourite) in enumerate({"ones": 1, "threes": 3, "fives": 5}.items())
    }


def subsets(seq2seq=False):
    """One subset copied from a corpus, one like another corpus and ragged, in two test sets."""
    copied = corpora(seq2seq)["threes"]
    return {
        Subset("copies", "threes"): copied,
        Subset("likenesses", "fives"): sequences(7, 5, 6, seq2seq, ragged=not seq2seq),
        Subset("likenesses", "ones"): sequences(8, 1, 4, seq2seq, ragged=not seq2seq),
        Subset("likenesses", "twos"): sequences(9, 2, 4, seq2seq, ragged=not seq2seq),
    }


def train(model, steps=60, every=20, folder=None, seq2seq=False):
    """θ0 of the tiny corpora, and its checkpoints."""
    data = Encoded.concatenate(list(corpora(seq2seq).values()))
    optimizer = torch.optim.Adam(model.parameters(), LR)
    checkpoints = []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        mean_loss(model, data.batch(slice(None))).backward()
        optimizer.step()
        if step % every == 0 and folder is not None:
            path = folder / f"{step:08d}.safetensors"
            save_model(model, str(path))
            checkpoints.append(Checkpoint(path, LR))
    model.zero_grad(set_to_none=True)
    return model, checkpoints


def make_subject(model, store, checkpoints=(), seq2seq=False, **other):
    held = copy.deepcopy(model)
    return Subject(
        load=lambda: held,
        corpora=corpora(seq2seq),
        trained_on=corpora(seq2seq),
        subsets=subsets(seq2seq),
        checkpoints=list(checkpoints),
        trainer=CPU,
        store=Store(store),
        key={"job": "a job"},
        **{"max_tokens": 40, **other},
    )


def quadratic_subject(store, corpora, *subsets):
    """About θ0 = 0 of `Quadratic`, of which each text says one token."""
    return Subject(
        load=Loader(Quadratic), corpora=corpora, checkpoints=[], trainer=CPU, store=Store(store),
        subsets={Subset("t", str(i)): data for i, data in enumerate(subsets)}, key={"a": "job"},
    )  # fmt: skip


def made_training(initial, settings, trainer=CPU):
    """What a method reads of the training of θ0, from this initial model."""
    return SimpleNamespace(
        settings=settings,
        trainer=trainer,
        tokenizer=None,
        source=SimpleNamespace(build=lambda _, seed: copy.deepcopy(initial)),
    )


@pytest.fixture
def folder(tmp_path):
    """With the texts that `command.JOB` names."""
    write_texts(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def seeded():
    """Vectors that tests draw are the same in every run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(θ0, its checkpoints): an OPT of 288 parameters in float64; not to be changed."""
    return train(opt(torch.float64), folder=tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def subject(trained, tmp_path):
    """A `Subject` about a copy of that θ0, with an empty store."""
    return make_subject(trained[0], tmp_path / "store", trained[1])


@pytest.fixture
def fresh_subject(trained, tmp_path):
    """Makes further subjects about that θ0, each with a store of its own."""
    made = []

    def make(**other):
        made.append(None)
        return replace(
            make_subject(trained[0], tmp_path / f"store{len(made)}", trained[1]), **other
        )

    return make


@pytest.fixture
def seq2seq_subject(tmp_path):
    model, checkpoints = train(t5(), 20, 10, tmp_path, True)
    return make_subject(model, tmp_path / "store", checkpoints, True)
