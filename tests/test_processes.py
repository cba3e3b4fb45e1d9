"""Two processes of torchrun against one."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from untrac_exp.runtime import processes

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "stages" / "sharded.py"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TINY = [
    "+experiment=small_toxicity", "method=untrac,untrac_inv,graddot,hif_arnoldi", "seed=0",
    "train_seed=0",
    "pretraining.steps=10", "pretraining.checkpoint_every=5", "n_per_corpus=12",
    "corpora.words_per_corpus=1500", "testset.n_per_subset=4",
    f"hydra.searchpath=[file://{ROOT / 'tests' / 'conf'}]", "truth.train_seeds=[0]",
    "parallel=none", "logger=none", "trainer.accelerator=cpu", "trainer.max_tokens=256",
]  # fmt: skip


def tables(outputs, name):
    return {path: pd.read_csv(path) for path in sorted(outputs.rglob(name))}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The outputs of one process."""
    outputs = tmp_path_factory.mktemp("one")
    done = run("-m", "untrac_exp", *TINY, f"outputs={outputs}")
    assert done.returncode == 0, done.stderr
    return outputs


def run(*arguments):
    given = [sys.executable, *map(str, arguments)]
    return subprocess.run(given, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "rounding"),
    # fsdp adds gradients up in another order: float32 rounds a loss of 6 nats to 5e-7
    [("ddp", 0.0), ("fsdp", 5e-7)],
)
def test_two_processes_find_what_one_finds(one, tmp_path, trainer, rounding):
    two = tmp_path
    done = run(*TORCHRUN, "-m", "untrac_exp", *TINY, f"trainer={trainer}", f"outputs={two}")
    assert done.returncode == 0, done.stderr
    curves, others = tables(one / "store", "loss.csv"), tables(two / "store", "loss.csv")
    assert len(curves) == len(others) == 9
    for mine, other in zip(curves.values(), others.values(), strict=True):
        assert mine["loss"].to_numpy() == pytest.approx(other["loss"].to_numpy(), rel=1e-4)
    for mine, other in zip(
        tables(one, "scores.csv").values(), tables(two, "scores.csv").values(), strict=True
    ):
        largest = mine["influence"].abs().max()
        difference = (mine["influence"] - other["influence"]).abs().max()
        assert difference <= 1e-4 * largest + rounding
    assert len(tables(two, "scores.csv")) == 4


def test_devices_without_their_processes_are_refused():
    with pytest.raises(ValueError, match="torchrun --nproc-per-node 2"):
        processes.join(2)


# ----------- Pretraining in shards (FSDP, two processes) against one process with the whole model
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
