"""The same sweep through every launcher and on every kind of worker, to the same scores."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
SWEEP = [
    "+experiment=toxicity", "corpora.words_per_corpus=1500", "testset.n_per_subset=4",
    "n_per_corpus=9", "pretraining.steps=5", "pretraining.checkpoint_every=2", "logger=none",
]  # fmt: skip
WAYS = {
    "hydra-joblib-launcher": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "hydra-ray-launcher": ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"],
    "distributed": ["parallel=dask", "parallel.workers=2"],
    "ray": ["parallel=ray", "parallel.workers=2"],
    # what Slurm would be given, run by processes of this machine
    "hydra-submitit-launcher": [
        "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=30",
    ],
}  # fmt: skip
SLURM = [
    "hydra/launcher=slurm", "hydra.launcher.timeout_min=30", "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.gpus_per_node=null", "hydra.launcher.mem_gb=null",
]  # fmt: skip
WORKERS = [
    "parallel=slurm", "parallel.workers=2", "parallel.options.memory=2GB",
    "parallel.options.job_cpu=1", "parallel.options.job_extra_directives=[]",
]  # fmt: skip
MEASURED = "wall_s"
"""The column that two runs need not agree on."""


def swept(folder, *overrides):
    done = subprocess.run(
        [sys.executable, "-m", "untrac_exp", *SWEEP, f"outputs={folder}", *overrides],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = folder / "toxicity" / "mini" / "summary.csv"
    table = pd.read_csv(summary)
    return table.drop(columns=MEASURED)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("basic"))


def installed(package):
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("package", filter(installed, WAYS))
def test_where_it_runs_changes_nothing(package, expected, tmp_path):
    pd.testing.assert_frame_equal(swept(tmp_path, *WAYS[package]), expected)


@pytest.mark.slow
@pytest.mark.skipif("SLURM_CONF" not in os.environ, reason="run it by tests/slurm_one_node.sh")
@pytest.mark.parametrize("where", [SLURM, WORKERS], ids=["jobs", "workers"])
def test_slurm_changes_nothing(where, expected, tmp_path):
    pd.testing.assert_frame_equal(swept(tmp_path, *where), expected)
