"""Memory and time per step of the paper's architectures on a CPU.

    python -m experiments.memory.paper_models

OPT-125M, and T5 of the small size in the LM-adapted layout (v1.1), with random weights: two
pretraining steps of 8 sequences, accumulated one at a time; two UnTrac steps of one; one UnTrac-Inv
step of 256 test examples of 32 tokens. OPT reads blocks of 1,024 tokens, T5 inputs of 512 and
targets of 32. Each stage runs in a separate process; prints seconds and peak resident memory,
including libraries.
"""

import argparse
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import (
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from untrac_exp.data.encoding import Encoded
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.runtime.cost import peak_rss
from untrac_exp.stages.pretraining import PretrainingSettings, pretrain
from untrac_exp.stages.trainer import TrainerSettings, quiet
from untrac_exp.stages.unlearning import Unlearning, unlearn

STAGES = {"pretraining": (2, 8), "untrac": (2, 1), "untrac_inv": (1, 256)}
"""Steps, and sequences a step."""

TRAINER = TrainerSettings(accelerator="cpu", max_tokens=1024)


def build(name: str) -> PreTrainedModel:
    """The architecture with random weights."""
    torch.manual_seed(0)
    if name == "OPT-125M":
        return OPTForCausalLM(
            OPTConfig(
                hidden_size=768, word_embed_proj_dim=768, num_hidden_layers=12,
                num_attention_heads=12, ffn_dim=3072, max_position_embeddings=2048,
            )
        ).eval()  # fmt: skip
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=32128, d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_heads=6,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0,
        )
    ).eval()  # fmt: skip


def texts(name: str, n: int, length: int) -> Encoded:
    """Return random tokens: (n, length) for text, or inputs of that length and targets of 32."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 32000, (n, length), generator=generator).int()
    lengths = torch.full((n,), length, dtype=torch.int32)
    if name == "OPT-125M":
        return Encoded(tokens, tokens.clone(), lengths)
    targets = torch.randint(5, 32000, (n, 32), generator=generator).int()
    return Encoded(tokens, targets, lengths, seq2seq=True)


def run(name: str, stage: str, folder: Path) -> None:
    """Take the stage's steps."""
    steps, batch_size = STAGES[stage]
    adam = partial(torch.optim.Adam, lr=5e-5, fused=True)
    length = 32 if stage == "untrac_inv" else 1024 if name == "OPT-125M" else 512
    data = texts(name, 2 * batch_size, length)
    if stage == "pretraining":
        settings = PretrainingSettings(steps, batch_size, adam, clip=1.0, checkpoint_every=1000)
        pretrain(build(name), data, settings, TRAINER, folder, seed=0)
        return
    unlearn(
        Unlearning(build(name), data, negative_loss, adam, batch_size, seed=0),
        max_tokens=TRAINER.max_tokens, steps=steps, trainer=TRAINER,
    )  # fmt: skip


def main() -> None:
    """Measure each stage of each architecture in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=2, help="measure this stage of this architecture, here")
    one = parser.parse_args().one
    if one is None:
        for name in ("OPT-125M", "T5-small"):
            for stage in STAGES:
                subprocess.run([sys.executable, __file__, "--one", name, stage], check=True)
        return
    name, stage = one
    quiet()
    size = sum(p.numel() for p in build(name).parameters()) / 1e6
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        run(name, stage, Path(folder))
    steps, batch_size = STAGES[stage]
    seconds = time.perf_counter() - start
    print(
        f"{name}, {size:.0f} M parameters, {stage}: {steps} steps of {batch_size} in "
        f"{seconds:.0f} s, {peak_rss() / 2**30:.1f} GiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
