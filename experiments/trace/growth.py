"""Cost of 30 corpora compared with 3, for UnTrac-Inv and UnTrac.

    python -m experiments.trace.checkpoint
    python -m experiments.trace.growth [--corpora 3 30] [--rows 64]

The docstrings of the example are split into each number of equal corpora, and 64 of the texts in
suspicious.jsonl are traced. Prints wall-clock time, tokens, and the growth per corpus.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from untrac_exp import trace

METHODS = ("untrac_inv", "untrac")


def texts(path: Path) -> list[str]:
    """The text of every row."""
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def main() -> None:
    """Trace each number of corpora with each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=int, nargs="+", default=[3, 30])
    parser.add_argument("--rows", type=int, default=64, help="of each corpus")
    parser.add_argument("--folder", type=Path, default=Path("outputs/trace_example"))
    arguments = parser.parse_args()
    every = [
        text for file in sorted((arguments.folder / "corpora").glob("*")) for text in texts(file)
    ]
    tests = {"suspicious": texts(arguments.folder / "suspicious.jsonl")[:64]}
    rows = []
    for method in METHODS:
        for n in arguments.corpora:
            corpora = {f"corpus {i}": every[i::n][: arguments.rows] for i in range(n)}
            model = arguments.folder / "checkpoint"
            scores = trace(model, None, corpora, tests, method, threads=1)
            cost = scores.attrs["cost"]
            rows.append(
                {
                    "method": method, "corpora": n, "wall_s": cost["wall_s"],
                    "forward_tokens": cost["forward_tokens"],
                    "backward_tokens": cost["backward_tokens"],
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.1f}".format))
    for method in METHODS:
        group = table[table["method"] == method]
        few, many = group.iloc[0], group.iloc[-1]
        more = many["corpora"] - few["corpora"]
        growth = [
            f"{(many[name] - few[name]) / more:.4g} {name}"
            for name in ("wall_s", "forward_tokens", "backward_tokens")
        ]
        print(f"{method}: {', '.join(growth)} for each corpus more")


if __name__ == "__main__":
    main()
