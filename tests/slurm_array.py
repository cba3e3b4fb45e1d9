"""Slurm jobs that train the models of one truth together:

    tests/slurm_one_node.sh

Runs a tiny sweep of toxicity through `hydra/launcher=slurm`, an array of six jobs, and with
`parallel=slurm`, as workers. Prints the pairs of counterfactual models that different processes
trained at the same time, by the manifests in the store. Ends with status 1 if there are none.
"""

import json
import subprocess
import sys
import tempfile
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from tests.test_launchers import ROOT, SLURM, SWEEP, WORKERS

JOBS = 6
LONGER = [*SWEEP, "pretraining.steps=30", "method=untrac_step,ngram,graddot", "train_seed=0,1"]
WAYS = {
    "array": ["parallel=none", *SLURM, f"hydra.launcher.array_parallelism={JOBS}"],
    "workers": WORKERS,
}


class Trained(NamedTuple):
    """A counterfactual model, the process that trained it, and from when to when."""

    name: str
    process: int
    start: datetime
    end: datetime

    def seconds_with(self, other: "Trained") -> float:
        """How long both were trained at once; negative if never."""
        return (min(self.end, other.end) - max(self.start, other.start)).total_seconds()


def counterfactual(store: Path) -> list[Trained]:
    """The store's models of training without a corpus."""
    found = []
    for file in sorted(store.glob("model/*/manifest.json")):
        made: dict[str, Any] = json.loads(file.read_text())
        if without := made["key"]["without"]:
            name = f"without {'+'.join(map(str, without))}, seed {made['key']['train_seed']}"
            start, end = (datetime.fromisoformat(made[when]) for when in ("started", "created"))
            found.append(Trained(name, made["by"]["pid"], start, end))
    return found


def run(way: str) -> bool:
    """Run the sweep in one of `WAYS`; return whether models were trained at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "untrac_exp", *LONGER, *WAYS[way], f"outputs={folder}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stderr)
            return False
        jobs = {path.name for path in Path(folder).rglob(".submitit/[0-9]*_*")}
        models = counterfactual(Path(folder) / "store")
    processes = {model.process for model in models}
    print(f"{way}: {len(models)} counterfactual models by {len(processes)} processes")
    pairs = [
        (one, other)
        for one, other in combinations(models, 2)
        if one.process != other.process and one.seconds_with(other) >= 0.1
    ]
    for one, other in pairs:
        print(f"{one.name} and {other.name}: {one.seconds_with(other):.1f} s at once")
    print(f"{len(pairs)} pairs of models were trained at once by different processes")
    return bool(pairs) and len(jobs) == (JOBS if way == "array" else 0)


def main() -> int:
    return int(not all([run(way) for way in WAYS]))


if __name__ == "__main__":
    sys.exit(main())
