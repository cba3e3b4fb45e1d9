"""Two processes of torchrun against one."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from untrac_exp.runtime import processes

ROOT = Path(__file__).parents[1]
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
    run("untrac_exp", *TINY, f"outputs={outputs}")
    return outputs


def run(*arguments):
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "rounding"),
    # fsdp adds gradients up in another order: float32 rounds a loss of 6 nats to 5e-7
    [("ddp", 0.0), ("fsdp", 5e-7)],
)
def test_two_processes_find_what_one_finds(one, tmp_path, trainer, rounding):
    two = tmp_path
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run(*torchrun, "-m", "untrac_exp", *TINY, f"trainer={trainer}", f"outputs={two}")
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
