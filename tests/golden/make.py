"""Golden results: what the jobs of `cases` find, to see that a change of the code keeps it.

    python -m tests.golden.make                     write this folder's JSON files, one per sweep
    python -m tests.golden.make --compare FOLDER    compare with the files of FOLDER, bit for bit

Further arguments are overrides of every job, such as parallel=local.
"""

import argparse
import csv
import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, redirect_stdout
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.golden.cases import SLOW, SWEEPS, write_inputs

HERE = Path(__file__).parent
NUMBERS = {"influence", "ci_low", "ci_high", "loss", "change", "share"}
NUMBERS |= {"lead", "lead_low", "lead_high", "behind"}
"""Columns of numbers. The others say what a number is of."""
Table = dict[str, list[Any]]
"""The numbers of a row by what they are of. The first row is the header."""
Found = dict[str, dict[str, Table]]
"""Tables by job and name; the metrics are a table too."""


def run(sweep: str, more: Sequence[str] = ()) -> Found:
    """Run the jobs of a sweep with a new store and return what they find."""
    found: Found = {}
    with TemporaryDirectory() as folder, chdir(folder), Path(os.devnull).open("w") as nowhere:
        write_inputs(Path())
        for job, overrides in {**SWEEPS, **SLOW}[sweep].items():
            with redirect_stdout(nowhere):
                _command([*overrides.split(), f"hydra.run.dir=results/{job}", "store=store", *more])
            [metrics] = Path("results", job).rglob("metrics.json")
            found[job] = {path.stem: _table(path) for path in sorted(metrics.parent.glob("*.csv"))}
            found[job]["metrics"] = _metrics(json.loads(metrics.read_text()))
    return found


def _command(arguments: Sequence[str]) -> None:
    """Run the command in this process, which has imported everything."""
    from untrac_exp.__main__ import main

    os.environ["HYDRA_FULL_ERROR"] = "1"  # main raises errors
    before, sys.argv = sys.argv, ["untrac_exp", *arguments]
    try:
        main()
    finally:
        sys.argv = before
    gc.freeze()  # collecting what stays takes a quarter of a tiny job's time


def _table(path: Path) -> Table:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    table: Table = {}
    for row in (header, *rows):
        cells = list(zip(header, row, strict=True))
        label = ",".join(cell for column, cell in cells if column not in NUMBERS)
        assert label not in table, f"{path}: two rows of {label}"
        table[label] = [cell for column, cell in cells if column in NUMBERS]
        if row is not header:
            table[label] = [float(cell) if cell else None for cell in table[label]]
    return table


def _metrics(metrics: dict[str, Any]) -> Table:
    """Return the agreement and the ceilings."""
    kept = {name: metrics[name] for name in metrics if name.startswith(("ceiling", "attainable"))}
    return dict(_flat({"agreement": metrics["agreement"], **kept}))


def _flat(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, list[Any]]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name},")
        else:
            yield f"{path}{name}", [value]


def differences(now: Found, then: Found, tolerance: float = 0) -> Iterator[str]:
    """Describe every number of a sweep that is another one than `then`.

    Args:
        now: the results.
        then: what to compare them with.
        tolerance: allowed difference of a correlation, and of a number in a table as a share of the
            largest in its column. Correlations of ranks, which jump where two influences are nearly
            equal, and the order of rows are compared only if it is 0.
    """
    tables = {(job, name): table for job, of in now.items() for name, table in of.items()}
    expected = {(job, name): table for job, of in then.items() for name, table in of.items()}
    for key in expected | tables:
        where, a, b = ", ".join(key), tables.get(key, {}), expected.get(key, {})
        rows = sorted if tolerance else list
        if rows(a) != rows(b):
            yield f"{where}: has {len(a)} rows, had {len(b)}, of other things or in another order"
            continue
        largest = [max(map(_size, column), default=0.0) for column in zip(*b.values(), strict=True)]
        for label, numbers in b.items():
            if tolerance and "spearman" in label:
                continue
            for x, y, most in zip(a[label], numbers, largest, strict=True):
                allowed = tolerance * (1.0 if key[1] == "metrics" else most)
                floats = isinstance(x, float) and isinstance(y, float)
                if x != y and not (floats and abs(x - y) <= allowed):
                    yield f"{where}, {label}: is {x!r}, was {y!r}"


def _size(value: Any) -> float:
    return abs(value) if isinstance(value, float) else 0.0


def save(found: Found, path: Path) -> None:
    """Write a sweep, one line per table; one that an earlier job has too is its name."""
    jobs: list[str] = []
    first: dict[tuple[str, str], str] = {}
    for job, tables in found.items():
        lines = []
        for name, table in tables.items():
            text = json.dumps(table, ensure_ascii=False)
            if (same := first.setdefault((name, text), job)) != job:
                text = json.dumps(same)
            lines.append(f"{json.dumps(name)}: {text}")
        jobs.append(f"{json.dumps(job)}: {{\n" + ",\n".join(lines) + "}")
    path.write_text("{" + ",\n".join(jobs) + "}\n")


def load(path: Path) -> Found:
    found = json.loads(path.read_text())
    for tables in found.values():
        tables |= {
            name: found[table][name] for name, table in tables.items() if isinstance(table, str)
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--compare", type=Path, metavar="FOLDER", help="write nothing, compare")
    parser.add_argument("--sweeps", type=lambda text: text.split(","), default=[*SWEEPS, *SLOW])
    args, more = parser.parse_known_args()
    differ = False
    for sweep in args.sweeps:
        found = run(sweep, more)
        if args.compare is None:
            save(found, args.to / f"{sweep}.json")
            continue
        told = list(differences(found, load(args.compare / f"{sweep}.json")))
        differ |= bool(told)
        print(f"{sweep}: {len(told)} differences" if told else f"{sweep}: identical")
        for line in islice(told, 20):
            print(f"  {line}")
    sys.exit(differ)


if __name__ == "__main__":
    main()
