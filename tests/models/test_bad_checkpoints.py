"""What people give as a model, and the line that tells them what to give instead."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForSequenceClassification,
)

from tests.trace_checkpoints import BAD, TEXTS, save, tokenizer
from untrac_exp import trace

SETTINGS = {"threads": 1, "trainer.accelerator": "cpu"}
SMALL = {"vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 32}  # fmt: skip


def holding(name, content=b""):
    return lambda folder: (folder / name).write_bytes(content)


def without(pattern):
    return lambda folder: [file.unlink() for file in folder.glob(pattern)]


def configured(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:500])


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    without("*.safetensors")(folder)


def own_code(folder):
    """Its code leaves a file behind when it is run."""
    code = {"AutoConfig": "made.Config", "AutoModelForCausalLM": "made.Model"}
    configured(model_type="homemade", auto_map=code)(folder)
    (folder / "made.py").write_text(f"open({str(folder / 'was_run')!r}, 'w').close()\n")


def classifier(folder):
    save(folder, "llama", tied=False)
    LlamaForSequenceClassification.from_pretrained(folder).save_pretrained(folder)


def layers(saved, configured):
    """A GPT-2 of so many layers whose configuration has another number."""

    def make(folder):
        config = GPT2Config(vocab_size=320, n_embd=8, n_layer=saved, n_head=2, n_positions=32)
        GPT2LMHeadModel(config).save_pretrained(folder, max_shard_size=6000)
        tokenizer().save_pretrained(folder)
        config.n_layer = configured
        config.save_pretrained(folder)

    return make


def missing_shard(folder):
    layers(2, 2)(folder)
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def masked(kind):
    def make(folder):
        config = AutoConfig.for_model(kind, **SMALL)
        AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
        tokenizer().save_pretrained(folder)

    return make


NOT_SAVED = "one of its files is not what was saved"
NO_TOKENIZER = "it has no tokenizer; save the model's tokenizer"
ROWS = {  # architecture, what is wrong with it, what is said
    "empty": (None, None, "it has no config.json"),
    "adapter": (None, holding("adapter_config.json", b'{"base_model_name_or_path": "some/base"}'),
                "a PEFT adapter without its base", "merge_and_unload()"),
    "gguf": (None, holding("model-q4.gguf", b"GGUF"), "it is a GGUF file", "in safetensors"),
    "pickled": ("gpt2", pickled, "it has no safetensors", "model.safetensors_only=false"),
    "own code": ("gpt2", own_code, "it needs its own code", "model.trust_remote_code=true"),
    "classifier": (None, classifier, "1 weights of a language model are missing, such as lm_head."),
    "no tokenizer": ("llama", without("token*"), NO_TOKENIZER),
    # transformers makes an empty one up, or one that reads every word as <unk>
    "made-up tokenizer": ("opt", without("token*"), NO_TOKENIZER),
    "tokenizer of unknown words": ("t5", without("token*"), NO_TOKENIZER),
    "no weights": ("llama", without("*.safetensors"), "safetensors"),
    "weights cut off": ("llama", cut, "cannot be read"),
    "missing shard": (None, missing_shard, "model-00002-of-0", "is missing, one of ", "of weights"),
    "other shapes": ("llama", configured(hidden_size=32), "its weights have other shapes than its"),
    "a layer more": ("llama", configured(num_hidden_layers=2), "9 weights of a language model are"),
    "a layer less": (None, layers(2, 1), "11 weights of a language model are not its own, such as"),
    "quantised": ("llama", configured(quantization_config={"quant_method": "gptq"}),
                  "it is quantised (gptq), so its weights cannot be changed"),
    "list for a configuration": ("llama", holding("config.json", b"[]"), NOT_SAVED),
    "broken tokenizer": ("llama", holding("tokenizer.json", b'{"a":'), NOT_SAVED),
    "broken index": ("llama", holding("model.safetensors.index.json", b"{}"), NOT_SAVED),
    "sees later tokens": (None, masked("bert"), "is no causal language model: later tokens change"),
    "masked": (None, masked("distilbert"), "distilbert is ", "model; give a decoder, such as GPT"),
}  # fmt: skip


def refused(path, says):
    with pytest.raises(ValueError, match=r".") as caught:
        trace(str(path), None, TEXTS, {"t": BAD}, **SETTINGS)
    line = str(caught.value)
    assert f"model.path='{path}'" in line
    assert all(words in line for words in says), line
    assert "\n" not in line


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_checkpoint_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    architecture, change, *says = ROWS[name]
    if architecture:
        save(tmp_path, architecture)
    if change:
        change(tmp_path)
    refused(tmp_path, says)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("{}/nowhere", "not found; give a folder, or the id of a model"),
        ("./nowhere", "not found; give a folder, or the id of a model"),
        ("{}/model-q4.gguf", "it is a GGUF file"),
        ("{}/model.safetensors", "it is a file; give the folder"),
    ],
)
def test_a_path_that_is_no_folder_is_one_line(name, says, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for file in ("model-q4.gguf", "model.safetensors"):
        (tmp_path / file).write_bytes(b"GGUF")
    refused(name.format(tmp_path), [says])


def test_a_model_in_memory_that_sees_later_tokens_is_refused():
    config = AutoConfig.for_model("electra", embedding_size=16, **SMALL)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match="ElectraForCausalLM is no causal language model"):
        trace(model, tokenizer(), TEXTS, {"t": BAD}, **SETTINGS)
    assert model.training
