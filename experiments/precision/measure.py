"""Effect of bfloat16 on influences: mixed precision against float32, on miniworld's toxicity.

    python -m experiments.precision.measure

With the float32 θ0 in both runs, only the method's arithmetic differs. With everything in mixed
precision, θ0 is also a different model; a θ0 of another train seed in float32 shows how much that
alone changes. Prints the Spearman correlation of the influences over corpora and subsets,
and the largest difference relative to the largest influence. Runs in outputs/precision are
reused. (A CPU without bfloat16 instructions takes many times longer in bfloat16.)
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from untrac_exp.report.collect import collect

METHODS = ("untrac_inv", "graddot", "untrac")
PRECISIONS = ("32-true", "bf16-mixed")
CELL = ["corpus", "testset", "subset"]


def run(outputs: Path, precision: str, *overrides: str, train_seed: int = 0) -> None:
    """Run the sweep in one precision from the command line."""
    subprocess.run(
        [
            sys.executable, "-m", "untrac_exp", "+experiment=toxicity", "truth=none", "seed=0",
            f"method={','.join(METHODS)}", f"outputs={outputs / precision}", "logger=none",
            f"trainer.precision={precision}", f"train_seed={train_seed}", *overrides,
        ],
        check=True,
    )  # fmt: skip


def influences(outputs: Path, precision: str, method: str) -> "pd.Series[float]":
    """Read the scores that `run` wrote."""
    scores = collect(outputs / precision / "toxicity" / "mini").scores
    return scores[scores["method"] == method].set_index(CELL)["influence"]


def compare(one: tuple[Path, str], two: tuple[Path, str], title: str) -> None:
    """Print how far the influences of the second run (outputs, precision) are from the first's."""
    print(title)
    for method in METHODS:
        exact = influences(*one, method)
        other = influences(*two, method).reindex(exact.index)
        largest = (other - exact).abs().max() / exact.abs().max()
        print(
            f"  {method}: Spearman {exact.corr(other, method='spearman'):.4f} over {len(exact)} "
            f"influences, largest difference {largest:.1e} of the largest",
            flush=True,
        )


def main() -> None:
    """Run what is missing, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("outputs/precision"))
    folder = parser.parse_args().folder
    whole, method, seed = (folder / name for name in ("all", "method", "seed"))
    for precision in PRECISIONS:
        run(whole, precision)
    run(seed, PRECISIONS[0], train_seed=1)
    store = whole / PRECISIONS[0] / "store"
    checkpoint = folder / "theta0"
    for file in ("tokenizer/*/tokenizer.json", "model/*/model/config.json"):
        (found,) = store.glob(file)
        shutil.copytree(found.parent, checkpoint, dirs_exist_ok=True)
    for precision in PRECISIONS:
        run(
            method, precision, "model=hf", f"model.path={checkpoint.absolute()}",
            "model.block_size=64", "pretraining.steps=0",
        )  # fmt: skip
    exact, mixed = PRECISIONS
    compare((method, exact), (method, mixed), "the same θ0, the method in bf16-mixed:")
    compare((whole, exact), (whole, mixed), "all in bf16-mixed:")
    compare((whole, exact), (seed, exact), "a θ0 of another train seed, all in float32:")


if __name__ == "__main__":
    main()
