"""Choose the settings of every method on the tuning text: run the grid, print its table.

    python -m experiments.tuning.tune [--grid grid|sequences] [--methods untrac,ngram] [--readme]

The rule: of at most four values of one key, choose the one with the highest agreement with
retraining, Pearson over the attainable ceiling, averaged over the test sets of
`testset=natural_tuning`; ties go to the first. The chosen values are in conf/. Sweeps resume.
`sequences.yaml` is a further grid, run with the values chosen from `grid.yaml`.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from experiments.published import fill
from untrac_exp.report.collect import collect

HERE = Path(__file__).parent
SWEEPS = {"grid": "tuning", "sequences": "tuning_sequences"}
"""Grid -> name of its sweep."""


def sweep(method: str, grid: dict[str, list[Any]], name: str) -> None:
    """Run the sweep of one method over its values."""
    overrides = [f"{key}={','.join(map(str, values))}" for key, values in grid.items()]
    command = [sys.executable, "-m", "untrac_exp", "+experiment=tuning", f"method={method}"]
    subprocess.run([*command, *overrides, f"name={name}"], check=True)


def results(method: str, grid: dict[str, list[Any]], name: str) -> dict[str, float]:
    """Return the agreement over the attainable of every value that was run, in the grid's order."""
    try:
        jobs = collect(Path("outputs", name, "mini")).metrics
    except ValueError:  # nothing has finished
        return {}
    found = {}
    for job in jobs:
        if job["method"] == method:
            node = job["config"] if grid else {}
            for part in next(iter(grid)).split(".") if grid else ():
                node = node[part]
            attainable = job["attainable"]
            found[_shown(node)] = mean(
                of["pearson"] / attainable[testset] for testset, of in job["agreement"].items()
            )
    values = map(_shown, next(iter(grid.values()), [{}]))
    return {value: found[value] for value in values if value in found}


def _shown(value: Any) -> str:
    """A value of the grid or of a configuration; "" where there is no key."""
    if isinstance(value, dict):
        return ""
    return value if isinstance(value, str) else f"{float(value):g}"


def table(grids: dict[str, dict[str, list[Any]]], name: str) -> str:
    """Every method, the agreement of each value, and the best."""
    lines = [
        "| method | key | agreement ÷ attainable ceiling | chosen |",
        "| --- | --- | --- | --- |",
    ]
    for method, grid in grids.items():
        if found := results(method, grid, name):
            shown = ", ".join(
                f"{value}: {x:.2f}" if value else f"{x:.2f}" for value, x in found.items()
            )
            whole = len(found) == len(next(iter(grid.values()), [""]))
            best = max(found, key=lambda value: found[value]) if whole else "not all were run"
            lines.append(f"| `{method}` | {next(iter(grid), '')} | {shown} | {best} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", choices=SWEEPS, default="grid", help="which file of values")
    parser.add_argument("--methods", help="some of them, with commas")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--draw", action="store_true", help="of what was run; run nothing")
    arguments = parser.parse_args()
    grids = yaml.safe_load((HERE / f"{arguments.grid}.yaml").read_text())
    if arguments.methods:
        grids = {name: grids[name] for name in arguments.methods.split(",")}
    for method, grid in grids.items() if not arguments.draw else ():
        sweep(method, grid, SWEEPS[arguments.grid])
    found = table(grids, SWEEPS[arguments.grid])
    print(found)
    if arguments.readme:
        fill(HERE / "README.md", found, f"{arguments.grid}.yaml")


if __name__ == "__main__":
    main()
