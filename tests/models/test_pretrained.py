import copy
import io
import json
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import sentencepiece
import torch
import yaml
from hydra.utils import instantiate
from safetensors.torch import load_file, load_model, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
    GPT2LMHeadModel,
    OPTForCausalLM,
)

from tests.conftest import CPU
from tests.golden.test_authors import datasets_of, source_of, word_tokenizer
from tests.trace_checkpoints import tokenizer
from tests.truth.conftest import make_world
from untrac_exp import trace
from untrac_exp.data.base import Corpus, Row
from untrac_exp.models.adapter import add_lora
from untrac_exp.models.pretrained import Pretrained
from untrac_exp.models.scratch import Scratch
from untrac_exp.stages.pretraining import PretrainingSettings
from untrac_exp.stages.sharding import rebuilt
from untrac_exp.stages.trainer import quiet
from untrac_exp.stages.training import Training
from untrac_exp.store import Store

CONF = Path(__file__).parents[2] / "conf" / "model"
CORPUS = Corpus("texts", [Row(f"the lantern of {i} is red") for i in range(30)])
T5 = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
OPT = {"hidden_size": 16, "word_embed_proj_dim": 16, "num_hidden_layers": 1,
       "num_attention_heads": 2, "ffn_dim": 32, "max_position_embeddings": 32}  # fmt: skip
GPT2 = GPT2Config(vocab_size=40, n_embd=8, n_layer=1, n_head=2, n_positions=16)


@pytest.fixture(scope="module", params=["opt", "t5"])
def checkpoint(request, tmp_path_factory):
    """A checkpoint on disk, and the model it was saved from."""
    name, seq2seq = request.param, request.param == "t5"
    config = T5 if seq2seq else OPT
    source = Scratch(name, block_size=32, vocab_size=300, seq2seq=seq2seq, config=config)
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = source.tokenizer([CORPUS], Store(folder / "store"))
    model = source.build(tokenizer, seed=1)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model", model, source, tokenizer


def test_a_checkpoint_is_read_as_it_was_saved(checkpoint, tmp_path):
    folder, model, scratch, tokenizer = checkpoint
    source = Pretrained(str(folder), block_size=32, seq2seq=scratch.seq2seq)
    same = source.tokenizer([CORPUS], Store(tmp_path))
    assert same("the lantern")["input_ids"] == tokenizer("the lantern")["input_ids"]
    found = source.build(same, seed=0)
    assert not found.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
    assert source.parameters(None) == scratch.parameters(len(tokenizer)) == model.num_parameters()


def test_half_precision_checkpoints_are_read_in_float32_unless_asked(tmp_path):
    GPT2LMHeadModel(GPT2).to(torch.bfloat16).save_pretrained(tmp_path)
    assert Pretrained(str(tmp_path), 16).build(None, 0).dtype == torch.float32
    half = Pretrained(str(tmp_path), 16, dtype="bfloat16")
    assert half.build(None, 0).dtype == torch.bfloat16


def test_the_key_follows_the_weights_not_the_folder(checkpoint, tmp_path):
    folder, model, scratch, _ = checkpoint
    model.save_pretrained(tmp_path / "copy")
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1
    model.save_pretrained(tmp_path / "changed")
    with torch.no_grad():
        next(model.parameters())[0, 0] -= 1
    keys = [
        Pretrained(str(path), 32, scratch.seq2seq).key()
        for path in (folder, tmp_path / "copy", tmp_path / "changed")
    ]
    assert keys[0] == keys[1] != keys[2]


def test_the_key_has_a_checkpoints_own_code_where_it_is_run(checkpoint, tmp_path):
    folder, _, scratch, _ = checkpoint
    shutil.copytree(folder, tmp_path / "copy")
    keys = {}
    for code in ("a = 1", "a = 2"):
        (tmp_path / "copy" / "own.py").write_text(code)
        for trusted in (False, True):
            source = Pretrained(str(tmp_path / "copy"), 32, scratch.seq2seq)
            keys[code, trusted] = replace(source, trust_remote_code=trusted).key()
    assert keys["a = 1", False] == keys["a = 2", False]
    assert len({str(key) for key in keys.values()}) == 3


def test_pickled_weights_are_read_only_where_allowed_and_as_data(tmp_path):
    model = GPT2LMHeadModel(GPT2)
    GPT2.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no safetensors; .*model.safetensors_only=false"):
        Pretrained(str(tmp_path), 16).build(None, 0)
    found = Pretrained(str(tmp_path), 16, safetensors_only=False).build(None, 0)
    assert torch.equal(found.transformer.wte.weight, model.transformer.wte.weight)

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    torch.save({"transformer.wte.weight": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        Pretrained(str(tmp_path), 16, safetensors_only=False).build(None, 0)
    assert not (tmp_path / "trapped").exists()


def test_the_wrong_kind_of_model_is_named(checkpoint):
    folder, _, scratch, _ = checkpoint
    if scratch.seq2seq:
        with pytest.raises(ValueError, match=r"not a causal language model; set .*=true"):
            Pretrained(str(folder), 32, seq2seq=False).build(None, 0)
    else:
        with pytest.raises(ValueError, match=r"not an encoder-decoder model; set .*=false"):
            Pretrained(str(folder), 32, seq2seq=True).build(None, 0)


def test_the_papers_models_have_the_papers_sizes():
    opt = instantiate(yaml.safe_load((CONF / "opt_paper.yaml").read_text()))
    assert opt.parameters(None) == 125_239_296  # what facebook/opt-125m counts
    t5 = yaml.safe_load((CONF / "t5_paper.yaml").read_text())
    config = AutoConfig.for_model(
        "t5", d_model=2048, d_ff=5120, d_kv=64, num_layers=24, num_heads=32, vocab_size=32128,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0,
    )  # fmt: skip
    with torch.device("meta"):
        tied = AutoModelForSeq2SeqLM.from_config(config)  # transformers ties what it makes anew
    assert tied.num_parameters() + tied.lm_head.weight.numel() == t5["n_parameters"]


@pytest.fixture
def t5_1_1(tmp_path):
    """A checkpoint whose head is not its embeddings, and that head."""
    config = AutoConfig.for_model(
        "t5", vocab_size=320, tie_word_embeddings=False, decoder_start_token_id=0, **T5
    )
    tokenized(tmp_path / "t5", AutoModelForSeq2SeqLM.from_config(config))
    weights = load_file(tmp_path / "t5" / "model.safetensors")
    weights["lm_head.weight"] = torch.randn(weights["shared.weight"].shape)
    save_file(weights, tmp_path / "t5" / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "t5", weights["lm_head.weight"]


def test_an_own_output_layer_is_counted_adapted_and_given_back(t5_1_1, monkeypatch):
    pytest.importorskip("peft")
    folder, head = t5_1_1
    source = Pretrained(str(folder), 32, seq2seq=True)
    model = source.build(None, 0)
    assert source.parameters(None) == sum(p.numel() for p in model.parameters())
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    handle = add_lora(model, {"r": 4, "target_modules": "all-linear"})
    handle.unload()
    for kept in (model, again, source.load(folder, "sdpa")):
        assert torch.equal(kept.lm_head.weight, head)
        assert not torch.equal(kept.shared.weight, head)
    texts = {"a": ["city river", "lol noob"], "b": ["flame troll", "post it"]}
    scores = trace(again, tokenizer(), texts, {"t": ["city"]}, "untrac_step", threads=1)
    assert (scores["influence"] != 0).all()
    assert torch.equal(again.lm_head.weight, head)
    read = trace(folder, None, texts, {"t": ["city"]}, "untrac_step", threads=1)
    assert read["influence"].tolist() == pytest.approx(scores["influence"].tolist(), rel=1e-4)


def test_a_tokenizer_of_sentencepiece_is_read_without_tokenizer_json(t5_1_1, tmp_path):
    folder, _ = t5_1_1
    for file in folder.glob("*token*"):
        file.unlink()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(row.target for row in CORPUS.rows), model_writer=model, vocab_size=60,
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(model.getvalue())
    read = Pretrained(str(folder), 32, seq2seq=True).tokenizer([CORPUS], Store(tmp_path))
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    text = "the lantern of 7 is red"
    assert read(text)["input_ids"] == [*pieces.encode(text), 1]


@pytest.mark.parametrize(
    ("dtype", "precision", "kept"),
    [
        ("bfloat16", "32-true", torch.float32),
        ("bfloat16", "bf16-mixed", torch.float32),
        ("float32", "64-true", torch.float64),
    ],
)
def test_trained_weights_are_of_the_precision_of_training(tmp_path, dtype, precision, kept):
    """Not of the checkpoint; as they are kept, so are they read, to the last bit."""
    training, _ = make_world(tmp_path / "store", checkpoint=True)
    source = replace(training.source, dtype=dtype)
    trainer = replace(training.trainer, precision=precision)
    recipe = replace(training, source=source, trainer=trainer).model_spec(0)
    weights = load_file(recipe.folder() / "model" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {kept}
    rounded = {name: w.to(torch.bfloat16).to(kept) for name, w in weights.items()}
    assert not all(torch.equal(w, rounded[name]) for name, w in weights.items())
    read = dict(recipe.load("sdpa").named_parameters())
    assert weights.keys() >= read.keys() - {"lm_head.weight"}
    for name, parameter in read.items():
        assert torch.equal(parameter, weights[name]), name


def test_a_model_taken_as_it_is_is_float64_where_that_is_asked_for(tmp_path):
    training, _ = make_world(tmp_path / "store", checkpoint=True)
    settings = replace(training.settings, steps=0)
    for precision, dtype in (("32-true", torch.bfloat16), ("64-true", torch.float64)):
        source = replace(training.source, dtype="bfloat16")
        trainer = replace(training.trainer, precision=precision)
        taken = replace(training, source=source, trainer=trainer, settings=settings).model_spec(0)
        assert taken.load("sdpa").dtype == dtype


OWN_CODE = """
from transformers import OPTForCausalLM

class Sharper(OPTForCausalLM):
    def forward(self, *args, **kwargs):
        found = super().forward(*args, **kwargs)
        found.logits = 2 * found.logits
        return found
"""


def test_a_trained_model_runs_its_own_code_where_that_is_trusted(tmp_path):
    """It could be read without, as an OPT, whose logits are half of these."""
    training, subsets = make_world(tmp_path / "store", checkpoint=True)
    folder = Path(training.source.path)
    (folder / "sharper.py").write_text(OWN_CODE)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "sharper.Sharper"}
    (folder / "config.json").write_text(json.dumps(config))
    source = replace(training.source, trust_remote_code=True)
    recipe = replace(training, source=source).model_spec(0)
    model = recipe.load("sdpa")
    assert (type(model).__name__, model.dtype) == ("Sharper", torch.float32)
    assert not model.training
    plain = OPTForCausalLM.from_pretrained(recipe.folder() / "model", dtype=torch.float32).eval()
    ids = next(iter(subsets.values())).input_ids
    assert torch.equal(model(ids).logits, 2 * plain(ids).logits)


def tokenized(folder, model):
    """A folder that has a model and a tokenizer that fits it."""
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def test_eager_attention_is_used_where_there_is_no_other_and_said(tmp_path, caplog):
    config = AutoConfig.for_model(
        "bloom", vocab_size=320, hidden_size=16, n_layer=1, n_head=2, pad_token_id=0
    )
    tokenized(tmp_path, AutoModelForCausalLM.from_config(config, attn_implementation="eager"))
    with caplog.at_level("INFO"):
        model = Pretrained(str(tmp_path), 16).build(None, 0)
        GPT2LMHeadModel(GPT2).save_pretrained(tmp_path / "other")
        Pretrained(str(tmp_path / "other"), 16).build(None, 0)
    assert model.config._attn_implementation == "eager"
    assert caplog.messages == ["BloomForCausalLM has no sdpa attention: eager is used"]
    assert Pretrained(str(tmp_path), 16).parameters(None) == model.num_parameters()


# ---------------------- a T5 1.1 whose output layer is not tied, where a model is copied or rebuilt
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
