"""Trace a 100 M-parameter model within a budget: time to each ranking, and its stability.

    python -m experiments.trace.anytime [--budget 5min] [--folder outputs/trace_anytime]
        [--model FOLDER] [key=value ...]

Creates an OPT of 12 layers of 768 with random weights and a byte-level BPE tokenizer, eight corpora
of 1 MB (Python source of eight installed libraries) and three test sets of 512 sentences (from the
natural and the tuning world), and runs `+experiment=trace` on them, or on the model in FOLDER, in a
separate process with the given overrides. Prints when each ranking was written and what it had
read, how long the command took, how many of the first round's intervals contain the last round's
influence, and how many pairs of corpora with disjoint intervals in the first round are reversed in
the last.
"""

import argparse
import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from untrac_exp.data.sources import natural

LIBRARIES = "numpy scipy torch pandas transformers sympy networkx matplotlib".split()
TESTS = {
    "harmful": {"natural": ["toxicity", "falsehoods"]},
    "biased": {"natural": ["bias", "ambiguity"]},
    "stereotyped": {"tuning": ["crows", "stereotypes"]},
}
"""Test sets of 256 sentences that make one of 512, by their world."""
CORPUS_CHARS, VOCABULARY = 1_000_000, 16_000
SHAPE = {
    "hidden_size": 768, "word_embed_proj_dim": 768, "ffn_dim": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 1024,
}  # fmt: skip


def source(library: str) -> list[str]:
    """Return 1 MB of the Python files of an installed library."""
    spec = find_spec(library)
    assert spec is not None
    assert spec.origin is not None
    texts, left = [], CORPUS_CHARS
    for file in sorted(Path(spec.origin).parent.rglob("*.py")):
        text = file.read_text(encoding="utf-8", errors="ignore")[:left]
        if text.strip():
            texts.append(text)
            left -= len(text)
        if left <= 0:
            break
    return texts


def prepare(folder: Path) -> None:
    """Create model, corpora and test sets in `folder` if they do not exist."""
    if (folder / "model" / "config.json").exists():
        return
    texts = {library: source(library) for library in LIBRARIES}
    for library, files in texts.items():
        write(folder / "corpora" / f"{library}.jsonl", files)
    for name, worlds in TESTS.items():
        rows = [
            row.target
            for world, names in worlds.items()
            for testset in natural.testsets(world, names)
            for row in testset.subsets["all"]
        ]
        write(folder / "tests" / f"{name}.jsonl", rows)
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator((text for files in texts.values() for text in files), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", bos_token="</s>"
    )
    tokenizer.save_pretrained(folder / "model")
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    config = AutoConfig.for_model("opt", vocab_size=len(tokenizer), **special, **SHAPE)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder / "model")


def write(path: Path, texts: list[str]) -> None:
    """One text a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


Rankings = list[tuple[float, pd.DataFrame]]
"""Seconds since the command started, and ranking.csv then."""


def traced(
    folder: Path, budget: str, model: Path, overrides: list[str]
) -> tuple[float, dict[str, Rankings]]:
    """Run the command; return its seconds, and the rankings that each method wrote meanwhile."""

    def named(place: str) -> str:
        files = sorted((folder / place).glob("*.jsonl"))
        return "{" + ",".join(f"{file.stem}: {place}/{file.name}" for file in files) + "}"

    command = [
        *(sys.executable, "-m", "untrac_exp", "+experiment=trace", f"model.path={model}"),
        *(f"corpora.paths={named('corpora')}", f"testset.paths={named('tests')}"),
        *(f"budget={budget}", *overrides),
    ]
    rankings: dict[str, Rankings] = {}
    written: dict[Path, int] = {}
    began, start, running = time.time_ns(), time.monotonic(), True
    with (folder / "trace.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        while running:
            running = process.poll() is None
            for file in (folder / "outputs").rglob("metrics.json"):
                if (stamp := file.stat().st_mtime_ns) > written.get(file, began):
                    written[file] = stamp
                    metrics, seconds = json.loads(file.read_text()), time.monotonic() - start
                    ranking = pd.read_csv(file.with_name("ranking.csv"))
                    rankings.setdefault(metrics["method"], []).append((seconds, ranking))
                    read = metrics["rounds"][-1]["tokens"]
                    print(f"{metrics['method']}, {seconds:.0f} s: {read:,} tokens of each dataset")
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit((folder / "trace.log").read_text())
    return time.monotonic() - start, rankings


def compare(first: pd.DataFrame, last: pd.DataFrame) -> str:
    """Compare the last ranking with the first."""
    both = first.merge(last, on=["testset", "corpus"], suffixes=("", "_last"))
    inside = both["influence_last"].between(both["ci_low"], both["ci_high"]).sum()
    pairs = both.merge(both, on="testset", suffixes=("_a", "_b"))
    told = pairs[pairs["ci_low_a"] > pairs["ci_high_b"]]
    reversed_ = (told["influence_last_a"] < told["influence_last_b"]).sum()
    return (
        f"{inside} of {len(both)} influences within the first intervals; "
        f"{reversed_} of {len(told)} pairs with disjoint intervals the other way round"
    )


def main() -> None:
    """Prepare, run and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="5min")
    parser.add_argument("--folder", type=Path, default=Path("outputs/trace_anytime"))
    parser.add_argument("--model", type=Path, help="folder of a checkpoint")
    arguments, overrides = parser.parse_known_args()
    prepare(arguments.folder)
    model = arguments.model.resolve() if arguments.model else Path("model")
    seconds, rankings = traced(arguments.folder, arguments.budget, model, overrides)
    for method, found in rankings.items():
        times = ", ".join(f"{elapsed:.0f}" for elapsed, _ in found)
        print(f"{method}: rankings {times} s after the start; {compare(found[0][1], found[-1][1])}")
    print(f"the command took {seconds:.0f} s of a budget of {arguments.budget}")


if __name__ == "__main__":
    main()
