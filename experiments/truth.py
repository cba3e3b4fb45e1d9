"""Compute the truth of an experiment without running a method, and store it in the package.

    python -m experiments.truth natural truth.train_seeds=[0,1,2]
    python -m experiments.truth worlds corpora.world=0

It trains what outputs/store lacks, so a killed run goes on, writes `<name>_truth.csv` beside the
embedded texts, with the name that the experiment's `truth` gives, and prints the attainable ceiling
of each test set. Further arguments are overrides; one of `truth` names only the seeds.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from untrac_exp.config.parallel import parallel_of
from untrac_exp.config.schema import config_dir
from untrac_exp.data.base import Subset
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.sources.embedded import TEXTS
from untrac_exp.job import load, prepare_process
from untrac_exp.stages.training import Training
from untrac_exp.statistics.agreement import ceilings
from untrac_exp.store import Store
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut
from untrac_exp.truth.stored import MARK, training_fingerprint


def main(experiment: str, overrides: list[str]) -> None:
    """Compute, write and describe a truth."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("config", [f"+experiment={experiment}", "hydra.mode=RUN", *overrides])
    assert isinstance(cfg, DictConfig)
    prepare_process(cfg.threads)
    inputs = load(cfg, Store(cfg.store, parallel=parallel_of(cfg)))
    truth = LeaveDatasetOut(list(cfg.truth.train_seeds), cfg.truth.budget)
    changes = truth.changes(inputs.training, inputs.subsets)
    influences = truth.influences(changes, list(inputs.training.corpora))
    write(TEXTS / f"{cfg.truth.name}_truth.csv", influences, inputs.training, inputs.subsets)
    best = ceilings(influences, lambda _: None)["attainable"]
    print(f"{cfg.truth.name}: " + ", ".join(f"{name} {value:.3f}" for name, value in best.items()))


def write(
    path: Path, truth: pd.DataFrame, training: Training, subsets: Mapping[Subset, Encoded]
) -> None:
    """Write a truth with what it is of; truth: columns as in truth.csv."""
    of = {
        "training": training_fingerprint(training),
        "texts": {"/".join(subset): data.fingerprint[:16] for subset, data in subsets.items()},
    }
    path.write_text(f"{MARK}{json.dumps(of)}\n{truth.to_csv(index=False)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
