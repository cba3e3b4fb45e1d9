"""Memory saved by LoRA and bfloat16, and their effect on influences.

    python -m experiments.trace.checkpoint
    python -m experiments.trace.lora            (needs peft: pip install 'untrac-exp[peft]')

Agreement: UnTrac-Inv and the anchored UnTrac on the example's checkpoint, each variant compared
with unlearning all weights in float32: correlation of the influences of 8 corpora (`--rows` each)
on 2 subsets. Memory: a random LLaMA of `--size` hidden units is unlearned for two steps in a
separate process; the peak memory above that before the model was loaded, after a small model was
unlearned in the same way to load all libraries. (A CPU without bfloat16 instructions is many times
slower in bfloat16; the seconds do not transfer to other machines.)
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from scipy import stats
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from untrac_exp import trace
from untrac_exp.runtime.cost import peak_rss, reset_peaks

WAYS: dict[str, dict[str, Any]] = {
    "all weights, float32": {},
    "bfloat16": {"model.dtype": "bfloat16"},
    "LoRA": {"model.adapter": "lora"},
    "LoRA, bfloat16": {"model.adapter": "lora", "model.dtype": "bfloat16"},
}
METHODS = ("untrac_inv", "untrac")


def rows(path: Path) -> list[dict[str, str]]:
    """Of a .jsonl file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def agreement(folder: Path, n: int, wanted: list[str]) -> pd.DataFrame:
    """Each way's influences beside those of unlearning all weights in float32, of `n` rows each."""
    corpora = {file.stem: rows(file) for file in sorted((folder / "corpora").glob("*.jsonl"))}
    tests = {"suspicious": rows(folder / "suspicious.jsonl")}
    found = []
    for method in METHODS:
        reference = None
        for name in dict.fromkeys([next(iter(WAYS)), *wanted]):
            settings = WAYS[name]
            few: dict[str, Any] = {"threads": 1, "n_per_corpus": n}
            scores = trace(folder / "checkpoint", None, corpora, tests, method, **few, **settings)
            values = scores["influence"]
            reference = values if reference is None else reference
            found.append(
                {
                    "method": method, "way": name,
                    "pearson": stats.pearsonr(values, reference).statistic,
                    "spearman": stats.spearmanr(values, reference).statistic,
                    "wall_s": scores.attrs["cost"]["wall_s"],
                    "warnings": len(scores.attrs["warnings"]),
                }
            )  # fmt: skip
    return pd.DataFrame(found)


def memory(folder: Path, size: int, wanted: list[str]) -> pd.DataFrame:
    """Return the memory by variant, in MiB above that before the model was loaded."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "checkpoint")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=size, intermediate_size=3 * size,
        num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=8,
    )  # fmt: skip
    found = []
    with tempfile.TemporaryDirectory() as made:
        model = LlamaForCausalLM(config)
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        weights = model.num_parameters()
        del model
        for name, settings in ((name, WAYS[name]) for name in wanted):
            given = json.dumps([made, str(folder), settings])
            done = subprocess.run(
                [sys.executable, "-m", "experiments.trace.lora", "--measure", given],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            found.append({"way": name, "MiB": round(float(done.stdout.split()[-1]) / 2**20)})
    print(f"LLaMA of {weights / 1e6:.1f} M parameters, {4 * weights / 2**20:.0f} MiB in float32")
    return pd.DataFrame(found)


def measure(made: str, folder: str, settings: dict[str, Any]) -> None:
    """Print the bytes that two steps of unlearning took, what the libraries need left out."""
    torch.set_num_threads(1)
    texts = rows(Path(folder) / "suspicious.jsonl")[:4]
    words = {"a": [f"{row['text']} " * 8 for row in texts]}  # long, so that activations count
    steps: dict[str, Any] = {"method.stopping.steps": 2, "method.stopping.evaluations": 1}
    # the small model first, which loads the libraries
    for model, length in ((Path(folder) / "checkpoint", 64), (Path(made), 128)):
        reset_peaks()
        before = peak_rss()  # memory before the model is loaded
        sizes: dict[str, Any] = {"threads": 1, "model.block_size": length}
        trace(model, None, words, words, **sizes, **steps, **settings)
        found = peak_rss() - before
    print(found)


def main() -> None:
    """Both tables, or one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("outputs/trace_example"))
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--rows", type=int, default=64, help="of a corpus, for the agreement")
    parser.add_argument("--ways", nargs="*", default=[*WAYS], choices=WAYS, metavar="WAY")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*json.loads(arguments.measure))
        return
    print(memory(arguments.folder, arguments.size, arguments.ways).to_string(index=False))
    found = agreement(arguments.folder, arguments.rows, arguments.ways)
    print(found.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
