"""Unlearning with less memory: the same gradients, and the model as it was."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from tests.trace_checkpoints import BAD, SEQ2SEQ, TEXTS, save
from untrac_exp import trace
from untrac_exp.data.base import Row
from untrac_exp.data.prepare import encode
from untrac_exp.models.adapter import add_lora
from untrac_exp.models.loss import mean_loss
from untrac_exp.models.weights import parameters

OPTIONS = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
STEPS = {
    "method.stopping.steps": 3, "method.stopping.epochs": None,
    "threads": 1, "trainer.accelerator": "cpu",
}  # fmt: skip


def loaded(folder, architecture, **settings):
    auto = AutoModelForSeq2SeqLM if architecture in SEQ2SEQ else AutoModelForCausalLM
    return auto.from_pretrained(save(folder / architecture, architecture), **settings).eval()


def batch(folder, architecture):
    tokenizer = AutoTokenizer.from_pretrained(folder / architecture)
    rows = [Row(text) for text in BAD]
    data = encode(rows, tokenizer, 32, architecture in SEQ2SEQ, "texts")
    return data.batch(slice(None))


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [("llama", torch.bfloat16), ("gpt2", torch.bfloat16), ("t5", torch.float32)],
)
def test_an_adapter_starts_as_nothing_and_alone_is_trained(architecture, dtype, tmp_path):
    pytest.importorskip("peft")
    model = loaded(tmp_path, architecture, dtype=dtype)
    inputs = batch(tmp_path, architecture)
    before = mean_loss(model, inputs)
    names = set(model.state_dict())
    handle = add_lora(model, OPTIONS)
    assert mean_loss(model, inputs) == before
    trained = parameters(model)
    assert all(p.dtype == torch.float32 for p in trained)
    assert 0 < sum(p.numel() for p in trained) < model.num_parameters() / 2
    mean_loss(model, inputs).backward()
    assert any(p.grad.abs().sum() > 0 for p in trained)
    handle.unload()
    assert set(model.state_dict()) == names
    assert mean_loss(model, inputs) == before


@pytest.mark.parametrize("method", ["untrac", "untrac_inv"])
def test_lora_traces_and_leaves_the_model_as_it_was(method, tmp_path):
    pytest.importorskip("peft")
    model = loaded(tmp_path, "llama")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llama")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    lora = {"model.adapter": "lora"}
    scores = trace(model, tokenizer, TEXTS, {"t": BAD}, method, **STEPS, **lora)
    assert (scores["influence"] != 0).all()
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(p.requires_grad for p in model.parameters())
    again = trace(tmp_path / "llama", None, TEXTS, {"t": BAD}, method, **STEPS, **lora)
    assert again["influence"].tolist() == scores["influence"].tolist()


def test_the_dropout_of_an_adapter_is_off(tmp_path):
    """Its output is made to count, for it starts as nothing."""
    pytest.importorskip("peft")
    model = loaded(tmp_path, "llama")
    add_lora(model, {**OPTIONS, "lora_dropout": 0.5})
    for parameter in parameters(model):
        torch.nn.init.ones_(parameter)
    inputs = batch(tmp_path, "llama")
    assert mean_loss(model, inputs) == mean_loss(model, inputs)


def test_options_that_peft_does_not_take_are_one_line(tmp_path):
    pytest.importorskip("peft")
    model = loaded(tmp_path, "llama")
    with pytest.raises(ValueError, match=r"model.lora: .*rank_of.*; give arguments of peft"):
        add_lora(model, {"rank_of": 3})


def test_without_peft_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install 'untrac-exp\[peft\]'"):
        add_lora(loaded(tmp_path, "llama"), OPTIONS)


def test_half_precision_is_traced(tmp_path):
    """Nearly as the model that has the same weights, rounded to bfloat16, in float32."""
    rounded = loaded(tmp_path, "llama", dtype=torch.bfloat16).float()
    steps = {**STEPS, "optimizer.lr": 0.01}
    half = {"model.dtype": "bfloat16", "trainer.theta0_on_cpu": True}
    scores = trace(tmp_path / "llama", None, TEXTS, {"t": BAD}, "untrac_inv", **steps, **half)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llama")
    single = trace(rounded, tokenizer, TEXTS, {"t": BAD}, "untrac_inv", **steps)
    largest = single["influence"].abs().max()
    assert largest > 0.1
    assert scores["influence"].tolist() == pytest.approx(
        single["influence"].tolist(), abs=0.01 * largest
    )
    assert scores["influence"].tolist() != single["influence"].tolist()
