"""Compare an accelerator's scores with the CPU's, and measure the paper's model on it.

    make gpu-check

1. Miniworld's toxicity, one θ0 (trained on the CPU, taken from the store by both): the scores of
   each method on the CPU and on the accelerator, largest difference and rank correlation.
2. OPT-125M's architecture with random weights, blocks of 1,024: 20 pretraining steps of 8, 20
   UnTrac steps of 1, one UnTrac-Inv step of 256; seconds a step and peak memory of the device.
"""

import argparse
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from transformers import OPTConfig, OPTForCausalLM

from untrac_exp.data.encoding import Encoded
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.stages.pretraining import PretrainingRun, pretrain
from untrac_exp.stages.trainer import TrainerSettings, quiet
from untrac_exp.stages.unlearning import Stopping, unlearn

METHODS = ("untrac", "untrac_inv", "graddot")
CELL = ["corpus", "testset", "subset"]


def scores(method: str, accelerator: str, folder: Path) -> "pd.Series[float]":
    """Run one method from the command line and return its scores."""
    out = folder / accelerator
    command = [
        sys.executable, "-m", "untrac_exp", f"method={method}", "logger=none",
        f"trainer.accelerator={accelerator}", f"outputs={out}", f"store={folder / 'store'}",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (found,) = out.glob(f"**/{method}*/seed0/scores.csv")
    return pd.read_csv(found).set_index(CELL)["influence"]


def compare(accelerator: str) -> None:
    """Print how far the accelerator's scores are from the CPU's."""
    with TemporaryDirectory() as folder:
        for method in METHODS:
            cpu = scores(method, "cpu", Path(folder))
            other = scores(method, accelerator, Path(folder)).reindex(cpu.index)
            largest = float((other - cpu).abs().max() / cpu.abs().max())
            rank = float(cpu.corr(other, method="spearman"))
            print(
                f"{method}: largest difference {largest:.1e} of the largest score, "
                f"Spearman {rank:.6f} over {len(cpu)} scores",
                flush=True,
            )


def opt_125m() -> OPTForCausalLM:
    """The architecture with random weights."""
    torch.manual_seed(0)
    return OPTForCausalLM(
        OPTConfig(
            hidden_size=768, word_embed_proj_dim=768, num_hidden_layers=12, num_attention_heads=12,
            ffn_dim=3072, max_position_embeddings=2048, dropout=0.1,
        )
    ).eval()  # fmt: skip


def random_blocks(n: int) -> Encoded:
    """Blocks (n, 1024) of random tokens."""
    tokens = torch.randint(5, 50272, (n, 1024), generator=torch.Generator().manual_seed(0))
    return Encoded(tokens.int(), tokens.int().clone(), torch.full((n,), 1024, dtype=torch.int32))


def measure(accelerator: str, precision: str, max_tokens: int) -> None:
    """Print seconds a step and peak memory of the three stages."""
    trainer = TrainerSettings(accelerator, precision=precision, max_tokens=max_tokens)
    adam = partial(torch.optim.Adam, lr=5e-5)
    micro = max(1, max_tokens // 1024)

    def pretraining(folder: str) -> None:
        run = PretrainingRun(
            random_blocks(64), None, 20, 8, min(8, micro), adam, 1.0, 0, 1000, False
        )
        pretrain(opt_125m(), run, trainer, Path(folder))

    def unlearning(steps: int, batch_size: int, n: int) -> None:
        model = opt_125m().to(trainer.device)
        unlearn(
            model, random_blocks(n), negative_loss, optimizer=adam, batch_size=batch_size,
            max_tokens=max_tokens, stopping=Stopping(steps=steps, evaluations=1), seed=0,
            trainer=trainer, observe=lambda step: False,
        )  # fmt: skip

    with TemporaryDirectory() as folder:
        stages = {
            "pretraining, 20 steps of 8": (20, partial(pretraining, folder)),
            "untrac, 20 steps of 1": (20, partial(unlearning, 20, 1, 32)),
            "untrac_inv, 1 step of 256": (1, partial(unlearning, 1, 256, 256)),
        }
        for name, (steps, stage) in stages.items():
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            stage()
            seconds = (time.perf_counter() - start) / steps
            peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
            print(f"{name}, {precision}: {seconds:.3f} s a step, {peak:.1f} GiB", flush=True)


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accelerator", default="cuda")
    parser.add_argument("--max-tokens", type=int, default=8192)
    args = parser.parse_args()
    if args.accelerator == "cuda" and not torch.cuda.is_available():
        sys.exit("error: torch sees no CUDA device; run this where there is one")
    quiet()
    compare(args.accelerator)
    for precision in ("32-true", "bf16-mixed"):
        measure(args.accelerator, precision, args.max_tokens)


if __name__ == "__main__":
    main()
