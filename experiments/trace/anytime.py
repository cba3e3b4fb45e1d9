"""Trace a 100 M-parameter model within a budget: time to each ranking, and its stability.

    python -m experiments.trace.anytime [--budget 5min] [--folder outputs/trace_anytime] [key=value]

Creates an OPT of 12 layers of 768 with random weights and a byte-level BPE tokenizer, eight corpora
of 1 MB (Python source of eight installed libraries) and three test sets of 512 sentences (from the
natural and the tuning world), and runs `+experiment=trace` on them in a separate process with the
given overrides. Prints when each round ended, how long the command took, how many of the first
round's intervals contain the last round's influence, and how many pairs of corpora with disjoint
intervals in the first round are reversed in the last.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

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


Ranking = dict[tuple[str, str], tuple[float, float, float]]
"""Influence, ci_low and ci_high by test set and corpus."""

_LINE = re.compile(r"\[(\d\d):(\d\d):(\d\d)\] (.*)")
_ROUND = re.compile(r"(\w+): round (\d+) took (.+?);")
_RANKING = re.compile(r"  (\w+): (.*\[.*)")
_CELL = re.compile(r"(\w+) ([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\]")


def traced(folder: Path, budget: str, overrides: list[str]) -> tuple[float, list[str]]:
    """Run the command; return its seconds and its output."""

    def named(place: str) -> str:
        files = sorted((folder / place).glob("*.jsonl"))
        return "{" + ",".join(f"{file.stem}: {place}/{file.name}" for file in files) + "}"

    command = [
        *(sys.executable, "-m", "untrac_exp", "+experiment=trace", "model.path=model"),
        *(f"corpora.paths={named('corpora')}", f"testset.paths={named('tests')}"),
        *(f"budget={budget}", *overrides),
    ]
    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, done.stdout.splitlines()


def rounds(lines: list[str]) -> dict[str, list[Ranking]]:
    """Return the ranking after every round by method; print when each was available."""
    found: dict[str, list[Ranking]] = {}
    loaded: int | None = None
    method = ""
    for line in filter(None, map(_LINE.fullmatch, lines)):
        hours, minutes, seconds = (int(line[i]) for i in (1, 2, 3))
        now, text = 3600 * hours + 60 * minutes + seconds, line[4]
        if "the weights are loaded" in text:
            loaded = now
            print(text)
        elif "is left out" in text:
            print(text)
        elif match := _ROUND.match(text):
            method = match[1]
            found.setdefault(method, []).append({})
            assert loaded is not None
            print(f"{method}: ranking {match[2]} {now - loaded} s after its weights were loaded")
        elif (match := _RANKING.match(text)) and method:
            for corpus, *numbers in _CELL.findall(match[2]):
                influence, low, high = map(float, numbers)
                found[method][-1][match[1], corpus] = (influence, low, high)
    return found


def compare(first: Ranking, last: Ranking) -> str:
    """Compare the last ranking with the first."""
    inside = sum(low <= last[cell][0] <= high for cell, (_, low, high) in first.items())
    told = reversed_ = 0
    for (testset, a), (other, b) in combinations(first, 2):
        if testset != other or first[testset, a][1] <= first[testset, b][2]:
            continue  # the first of a pair stands above: cells are in the order of the ranking
        told += 1
        reversed_ += last[testset, a][0] < last[testset, b][0]
    return (
        f"{inside} of {len(first)} influences within the first intervals; "
        f"{reversed_} of {told} pairs with intervals apart the other way round"
    )


def main() -> None:
    """Prepare, run and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="5min")
    parser.add_argument("--folder", type=Path, default=Path("outputs/trace_anytime"))
    arguments, overrides = parser.parse_known_args()
    prepare(arguments.folder)
    seconds, lines = traced(arguments.folder, arguments.budget, overrides)
    for method, found in rounds(lines).items():
        print(f"{method}: {compare(found[0], found[-1])}")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"the command took {seconds:.0f} s of a budget of {arguments.budget}, "
        f"{spent.ru_utime + spent.ru_stime:.0f} s of them of a processor"
    )


if __name__ == "__main__":
    main()
