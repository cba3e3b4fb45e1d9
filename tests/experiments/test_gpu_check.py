"""What `make gpu-check` measures, on the CPU with a tiny model."""

import re
from functools import partial
from itertools import count

import torch

from experiments.gpu_check.check import matrix_rate, measure
from tests.conftest import opt
from untrac_exp.stages.trainer import TrainerSettings


def test_every_stage_is_measured():
    trainer = TrainerSettings("cpu", max_tokens=64)
    tiny = partial(opt, vocab_size=64, hidden=16, max_position_embeddings=32)
    lines = measure(tiny, trainer, width=16, steps=3, batch=8)
    assert [line.split(",")[0] for line in lines] == ["pretraining", "untrac", "untrac_inv"]
    for line in lines:
        assert re.search(r"32-true: -?[\d.]+ ms a step, .* of float32, .* of bfloat16", line)


def test_the_rate_is_that_of_a_product_of_matrices(monkeypatch):
    monkeypatch.setattr("time.perf_counter", count().__next__)  # a product takes a second
    assert matrix_rate(torch.device("cpu"), torch.float32, size=8) == 2 * 8**3
