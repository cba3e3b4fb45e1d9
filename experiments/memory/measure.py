"""Peak memory of every method relative to plain pretraining of the same model.

    python -m experiments.memory.measure [--readme]

An OPT of 8 layers of 512 with random weights, blocks of 256 tokens, batches of 8 read at once,
Adam, on the CPU. Each stage runs in a separate process, which first does the same with a tiny model
to load libraries. Reported is the peak resident memory above that before the model was created.
Steps and iterations are few, since memory does not grow with them.
"""

import argparse
import gc
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from safetensors.torch import save_model
from transformers import OPTConfig, OPTForCausalLM

from untrac_exp.config.schema import config_dir
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Checkpoint, Subject, Subset
from untrac_exp.runtime.cost import peak_rss, reset_peaks
from untrac_exp.stages.pretraining import PretrainingSettings, pretrain
from untrac_exp.stages.trainer import TrainerSettings, quiet
from untrac_exp.store import Store

PLAIN = "pretraining"
METHODS = (
    "untrac", "untrac_inv", "untrac_step", "ngram",
    "graddot", "gradcos", "tracin", "hif_lissa", "hif_arnoldi", "hif_ekfac",
)  # fmt: skip
BATCH, BLOCK = 8, 256
TRAINER = TrainerSettings(accelerator="cpu", max_tokens=BATCH * BLOCK)
UNLEARNING = ["method.stopping.epochs=null", "method.stopping.steps=2"]
FEW = {
    "untrac": [*UNLEARNING, "method.stopping.evaluations=1"],
    "untrac_inv": [*UNLEARNING, "method.stopping.evaluations=1", "method.batch_size=8"],
    # random weights are no minimum: LiSSA's series converges only on a large scale
    "hif_lissa": ["method.samples=8", "method.iterations=2", "method.scale=1e6"],
    "hif_arnoldi": ["method.samples=8", "method.iterations=4", "method.keep=2"],
    "hif_ekfac": ["method.samples=8"],
}
"""Overrides of each method, for few steps."""


def build(layers: int, width: int, vocab: int) -> OPTForCausalLM:
    """An OPT with random weights."""
    torch.manual_seed(0)
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=vocab, hidden_size=width, word_embed_proj_dim=width,
            num_hidden_layers=layers, num_attention_heads=4, ffn_dim=4 * width,
            max_position_embeddings=BLOCK, dropout=0.0,
        )
    ).eval()  # fmt: skip


def blocks(seed: int, n: int) -> Encoded:
    """Random tokens (n, BLOCK)."""
    tokens = torch.randint(3, 64, (n, BLOCK), generator=torch.Generator().manual_seed(seed)).int()
    return Encoded(tokens, tokens.clone(), torch.full((n,), BLOCK, dtype=torch.int32))


def work(stage: str, model: OPTForCausalLM, folder: Path) -> None:
    """Run pretraining or a method, with the presets' settings but few steps."""
    if stage == PLAIN:
        adam = partial(torch.optim.Adam, lr=1e-4, fused=True)
        settings = PretrainingSettings(3, BATCH, adam, clip=1.0, checkpoint_every=1000)
        pretrain(model, blocks(0, 64), settings, TRAINER, folder / "model", seed=0)
        return
    with initialize_config_dir(str(config_dir()), version_base=None):
        method = instantiate(compose("config", [f"method={stage}", *FEW.get(stage, [])]).method)
    save_model(model, str(folder / "checkpoint.safetensors"))
    corpora = {str(i): blocks(i, 16) for i in range(3)}
    subject = Subject(
        load=lambda: model,
        corpora=corpora,
        trained_on=corpora,
        subsets={Subset("test", str(i)): blocks(i, 8) for i in range(3)},
        checkpoints=[Checkpoint(folder / "checkpoint.safetensors", 1e-4)],
        trainer=TRAINER,
        store=Store(folder / "store"),
        key={},
        max_tokens=TRAINER.max_tokens,
    )
    method.influences(subject)


def peak(stage: str) -> int:
    """Return the peak memory in bytes above that before the model was created."""
    quiet()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        work(stage, build(1, 16, 64), Path(folder))
    gc.collect()
    reset_peaks()
    before = peak_rss()
    model = build(8, 512, 8192)
    with TemporaryDirectory() as folder:
        work(stage, model, Path(folder))
    return peak_rss() - before


def main() -> None:
    """Measure each stage in its own process and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", help="measure this one only, in this process")
    parser.add_argument("--readme", action="store_true", help="write peaks.csv for README's table")
    given = parser.parse_args()
    if given.stage:
        print(peak(given.stage))
        return
    parameters = sum(p.numel() for p in build(8, 512, 8192).parameters())
    print(f"{parameters / 1e6:.1f} M parameters, {4 * parameters / 2**20:.0f} MiB of weights")
    plain = None
    peaks = ["stage,mib"]
    for name in (PLAIN, *METHODS):
        done = subprocess.run(
            [sys.executable, __file__, "--stage", name], check=True, stdout=subprocess.PIPE
        )
        found = int(done.stdout.split()[-1])
        plain = plain or found
        print(f"{name}: {found / 2**20:.0f} MiB, {found / plain:.2f} of pretraining", flush=True)
        peaks.append(f"{name},{found / 2**20:.0f}")
    if given.readme:
        Path(__file__).with_name("peaks.csv").write_text("\n".join(peaks) + "\n")


if __name__ == "__main__":
    main()
