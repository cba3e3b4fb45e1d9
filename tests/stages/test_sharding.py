"""Pretraining in shards (FSDP, two processes) against one process with the whole model."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

SCRIPT = Path(__file__).with_name("sharded.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["opt", "t5", "untied_t5"])
def test_shards_train_what_one_process_trains(architecture, tmp_path):
    """Killed between two checkpoints and taken up again, with tied weights and others."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(SCRIPT, one, architecture).returncode == 0
    killed = run(*TORCHRUN, SCRIPT, two, architecture, 9)
    assert (two / "last.ckpt").exists(), killed.stderr
    assert "exitcode  : 9" in killed.stderr, killed.stderr
    done = run(*TORCHRUN, SCRIPT, two, architecture)
    assert done.returncode == 0, done.stderr
    mine, other = (pd.read_csv(folder / "loss.csv") for folder in (one, two))
    pd.testing.assert_frame_equal(mine, other, rtol=1e-5)
    files = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert files == sorted(
        str(path.relative_to(two))
        for path in two.rglob("*")
        if path.is_file() and "other" not in path.parts
    )
    for name in (file for file in files if file.endswith(".safetensors")):
        weights, others = load_file(one / name), load_file(two / name)
        torch.testing.assert_close(weights, others, rtol=1e-4, atol=1e-5)
    auto = AutoModelForSeq2SeqLM if "t5" in architecture else AutoModelForCausalLM
    model = auto.from_pretrained(two / "model")
    assert type(model) is type(auto.from_pretrained(one / "model"))
    is_tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert is_tied == (architecture != "untied_t5")
