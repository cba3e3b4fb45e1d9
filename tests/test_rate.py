"""The machine's rate, on a clock that the model itself advances."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.trace_checkpoints import save
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subject, Subset
from untrac_exp.methods.common import budget
from untrac_exp.methods.common.sizes import Size, Sizes
from untrac_exp.methods.untrac_step import UnTracStep
from untrac_exp.models import rate
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.store import Store

SECONDS_PER_TOKEN = 0.01


@pytest.fixture
def model(tmp_path):
    return AutoModelForCausalLM.from_pretrained(save(tmp_path / "model", "opt"))


@pytest.fixture
def clock(monkeypatch):
    """Every token forward and backward takes so long, whatever the machine."""
    now = [0.0]
    loss = rate.mean_loss

    def slow(model, batch):
        now[0] += SECONDS_PER_TOKEN * batch["input_ids"].numel()
        return loss(model, batch)

    monkeypatch.setattr(rate, "mean_loss", slow)
    monkeypatch.setattr(rate.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(rate, "_measured", {})
    return now


def test_the_rate_counts_six_flops_a_parameter_and_token(model, clock):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = 6 * sum(p.numel() for p in model.parameters()) / SECONDS_PER_TOKEN
    assert rate.model_rate(model) == pytest.approx(expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    took = clock[0]
    rate.model_rate(model)
    assert clock[0] == took  # it is measured once


def test_a_run_of_over_ten_minutes_is_warned_of(model, clock, tmp_path, monkeypatch, caplog):
    rows = torch.full((100, 16), 5, dtype=torch.int32)
    data = Encoded(rows, rows, torch.full((100,), 16, dtype=torch.int32))
    method, size, test = UnTracStep(), Size.of(data), Subset("t", "all")
    forward, backward = method.tokens(Sizes({"a": size}, {test: size}))
    seconds = SECONDS_PER_TOKEN * (forward + 2 * backward) / 3
    assert seconds < 600
    monkeypatch.setattr(budget, "_SLOWEST", 1.0)
    for n in (1, 20):
        data = Encoded.concatenate([data] * n)
        subject = Subject(
            lambda: model, {"a": data}, {test: data}, [], TrainerSettings(), Store(tmp_path), {}
        )
        budget.warn_if_long("untrac_step", method, subject)
        assert len(caplog.messages) == (n == 20)
    assert f"takes about {20 * seconds / 60:.0f} min as measured here" in caplog.text
