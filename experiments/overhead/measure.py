"""Overhead of unlearning through the Lightning trainer against a plain PyTorch loop.

    python -m experiments.overhead.measure

Both run 128 steps with batches of one and Adam from the same weights, without evaluation, on one
corpus of the mini preset. Runs alternate, with the order swapped every time, and each is compared
with its neighbour, so that a temporary slowdown affects both. Prints milliseconds per
step and the median and quartiles of the ratio, for the mini model and for a 4-layer OPT of width
256, and checks that both end at the same weights.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import islice

import numpy as np
import torch
from transformers import OPTConfig, OPTForCausalLM

from untrac_exp.data.encoding import Encoded, pad
from untrac_exp.data.order import batches
from untrac_exp.objectives.ascent import negative_loss
from untrac_exp.stages.trainer import TrainerSettings, quiet
from untrac_exp.stages.unlearning import Unlearning, unlearn

VOCAB, BLOCK = 512, 64
SHAPES = {"mini": (64, 2, 4), "4 layers of 256": (256, 4, 4)}
ADAM = partial(torch.optim.Adam, lr=2e-4, fused=True)


def build(width: int, layers: int, heads: int) -> OPTForCausalLM:
    """An OPT of this shape with random weights."""
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=VOCAB,
        hidden_size=width,
        word_embed_proj_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        ffn_dim=4 * width,
        max_position_embeddings=BLOCK,
        dropout=0.0,
    )
    return OPTForCausalLM(config).eval()


def bare(model: OPTForCausalLM, data: Encoded, steps: int) -> None:
    """Run a plain PyTorch training loop."""
    optimizer = ADAM(model.parameters())
    tokens = data.input_ids.long()
    for indices in islice(batches(len(data), 1, seed=0), steps):
        optimizer.zero_grad()
        batch = tokens[indices]
        loss = -model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        optimizer.step()


def trained(model: OPTForCausalLM, data: Encoded, steps: int) -> None:
    """Run the unlearning stage of UnTrac."""
    unlearn(
        Unlearning(model, data, negative_loss, ADAM, batch_size=1, seed=0),
        max_tokens=4096,
        steps=steps,
        trainer=TrainerSettings(accelerator="cpu"),
    )


def timed(run: Callable[..., None], model: OPTForCausalLM, data: Encoded, steps: int) -> float:
    """Milliseconds a step."""
    start = time.perf_counter()
    run(model, data, steps)
    return (time.perf_counter() - start) / steps * 1000


def main() -> None:
    """Time both loops for every shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    rows = torch.randint(2, VOCAB, (256, BLOCK), generator=torch.Generator().manual_seed(0))
    data = pad(rows.tolist(), rows.tolist(), seq2seq=False)
    for name, shape in SHAPES.items():
        theta0 = build(*shape)
        times: dict[str, list[float]] = {"bare": [], "trainer": []}
        for repeat in range(args.repeats):
            ends = []
            runs = [("bare", bare), ("trainer", trained)]
            for key, run in runs if repeat % 2 else runs[::-1]:
                model = deepcopy(theta0)
                times[key].append(timed(run, model, data, args.steps))
                ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
            difference = float((ends[0] - ends[1]).abs().max())
        low, ratio, high = np.quantile(
            np.divide(times["trainer"], times["bare"]), (0.25, 0.5, 0.75)
        )
        print(
            f"{name}: bare {np.median(times['bare']):.2f} ms a step, "
            f"trainer {np.median(times['trainer']):.2f}, "
            f"ratio {ratio:.3f} ({low:.3f} to {high:.3f}); "
            f"largest difference of a weight at the end {difference:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
