"""Compare an accelerator's scores with the CPU's, and measure the paper's model on it.

    make gpu-check

1. Miniworld's toxicity, one θ0 (trained on the CPU, taken from the store by both): the scores of
   each method on the CPU and on the accelerator, largest difference and rank correlation.
2. OPT-125M's architecture with random weights, blocks of 1,024, Adam: pretraining steps of 8,
   UnTrac steps of 1, UnTrac-Inv steps of 256, in float32 and with bfloat16, compiled and not, and
   pretraining with FSDP: milliseconds a step, share of the device's matrix rate, peak memory.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from transformers import OPTConfig, OPTForCausalLM, PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.report.collect import collect
from untrac_exp.stages.pretraining import PretrainingSettings, pretrain
from untrac_exp.stages.trainer import TrainerSettings, quiet
from untrac_exp.stages.unlearning import Unlearning, unlearn

METHODS = ("untrac", "untrac_inv", "graddot")
CELL = ["corpus", "testset", "subset"]
SETTINGS = [
    ("32-true", False, False), ("32-true", True, False), ("bf16-mixed", False, False),
    ("bf16-mixed", True, False), ("bf16-mixed", False, True),
]  # fmt: skip
"""Precision, whether compiled, whether sharded (FSDP)."""


def scores(method: str, accelerator: str, folder: Path) -> "pd.Series[float]":
    """Run one method from the command line and return its scores."""
    out = folder / accelerator
    command = [
        sys.executable, "-m", "untrac_exp", f"method={method}", "logger=none",
        f"trainer.accelerator={accelerator}", f"outputs={out}", f"store={folder / 'store'}",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    table = collect(out).scores
    return table[table["method"] == method].set_index(CELL)["influence"]


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


def random_blocks(model: PreTrainedModel, n: int, width: int) -> Encoded:
    """Blocks (n, width) of random tokens."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, model.config.vocab_size, (n, width), generator=generator).int()
    return Encoded(tokens, tokens.clone(), torch.full((n,), width, dtype=torch.int32))


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Return the FLOP/s of the device in products of square matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        c = a @ b
        float(c[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def measure(
    build: Callable[[], PreTrainedModel],
    trainer: TrainerSettings,
    width: int = 1024,
    steps: int = 20,
    batch: int = 256,
) -> list[str]:
    """Measure pretraining, UnTrac and UnTrac-Inv with one setting of the trainer.

    Args:
        build: makes the model, with random weights.
        trainer: device, precision, compilation and sharding.
        width: tokens of a block.
        steps: steps that are timed; those of a shorter run before, compilation included, are not.
        batch: blocks of UnTrac-Inv's step.

    Returns:
        A line for each stage: milliseconds a step, the share of the device's rate in products of
        matrices (float32 and bfloat16; a step is 6 FLOPs a parameter and token), peak memory.
    """
    adam = partial(torch.optim.Adam, lr=5e-5)
    device = trainer.device
    size = 8192 if device.type == "cuda" else 256  # products of bfloat16 are slow on most CPUs
    types = (torch.float32, torch.bfloat16)
    rates = {dtype: matrix_rate(device, dtype, size) for dtype in types}
    parameters = sum(p.numel() for p in build().parameters())

    def pretraining(model: PreTrainedModel, steps: int) -> None:
        data = random_blocks(model, 64, width)
        settings = PretrainingSettings(steps, 8, adam, clip=1.0, checkpoint_every=1000)
        with TemporaryDirectory() as folder:
            pretrain(model, data, settings, trainer, Path(folder) / "model", seed=0)

    def unlearning(batch_size: int, model: PreTrainedModel, steps: int) -> None:
        model.to(device)
        data = random_blocks(model, max(32, batch_size), width)
        unlearn(
            Unlearning(model, data, negative_loss, adam, batch_size, 0, trainer.loss),
            max_tokens=trainer.max_tokens, steps=steps, trainer=trainer,
        )  # fmt: skip

    stages = {"pretraining, batches of 8": (steps, 8, pretraining)}
    if not trainer.shard:  # which concerns pretraining alone
        stages["untrac, batches of 1"] = (steps, 1, partial(unlearning, 1))
        stages[f"untrac_inv, batches of {batch}"] = (1, batch, partial(unlearning, batch))
    lines = []
    for name, (timed, examples, stage) in stages.items():
        seconds = []
        for n in (2, 2 + timed):
            model = build()
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            stage(model, n)
            seconds.append(time.perf_counter() - start)
        step = (seconds[1] - seconds[0]) / timed
        flops = 6 * parameters * examples * width / step
        shares = ", ".join(f"{flops / rate:.2f} of {name_of(d)}" for d, rate in rates.items())
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
        setting = f"{trainer.precision}{', compiled' * trainer.compile}{', FSDP' * trainer.shard}"
        lines.append(f"{name}, {setting}: {1000 * step:.1f} ms a step, {shares}, {peak:.1f} GiB")
    return lines


def name_of(dtype: torch.dtype) -> str:
    """Return `float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")


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
    for precision, compile, shard in SETTINGS:
        trainer = TrainerSettings(
            args.accelerator, precision=precision, max_tokens=args.max_tokens, compile=compile,
            shard=shard,
        )  # fmt: skip
        for line in measure(opt_125m, trainer):
            print(line, flush=True)


if __name__ == "__main__":
    main()
