"""The machine's rate, on a clock that the model itself advances."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.trace_checkpoints import save
from untrac_exp.models import rate

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
