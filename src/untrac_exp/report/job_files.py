"""Result files of a job: whether they are there, and writing them."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from untrac_exp.config.schema import job_overrides, plain, shown
from untrac_exp.data.prepare import READING
from untrac_exp.methods.common.budget import Round, budget_s
from untrac_exp.report import result_files as files
from untrac_exp.stages.inputs import Inputs
from untrac_exp.statistics.agreement import agreement, ceilings, load_statistics, truth_mean
from untrac_exp.statistics.evidence import tables_of
from untrac_exp.store import fingerprint
from untrac_exp.store.artifact import versions
from untrac_exp.store.code import code_fingerprint, targets
from untrac_exp.truth.models import Truth

log = logging.getLogger(__name__)

_IGNORED_KEYS = (
    *("outputs", "store", "force", "logger", "tags", "debug", "threads", "parallel"),
    *("plan", "plan_flops_per_s"),
)
"""Keys that do not affect results."""
_CODE = (
    "untrac_exp.job",
    "untrac_exp.statistics.agreement",
    "untrac_exp.statistics.evidence",
)
"""Modules that compute a job's result files, whatever it is configured to."""


class Results(NamedTuple):
    """What a job has computed after a round; truth and changes are None with truth=none."""

    attributed: Round
    theta0: Path | None
    truth: Truth | None
    changes: pd.DataFrame | None


def job_key(cfg: DictConfig, inputs: Inputs) -> dict[str, Any]:
    """Return everything that a job's results depend on."""
    return {"config": _settings(plain(cfg)), "data": inputs.key, "code": job_code(cfg)}


def job_code(cfg: DictConfig) -> str:
    """Return the hash of the code that a job runs."""
    added = [path.rpartition(".")[0] for path in cfg.statistics.values()]
    return code_fingerprint([*_CODE, *added, *targets(_settings(plain(cfg)))])


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that affects results."""
    return {key: value for key, value in config.items() if key not in _IGNORED_KEYS}


def is_finished(outdir: Path, key: str) -> bool:
    """Return whether `outdir` has the results of the job with this key (a fingerprint)."""
    if not (outdir / "metrics.json").exists():
        return False
    metrics = files.read_metrics(outdir)
    return metrics.get("fingerprint") == key and not files.changed_table(outdir, metrics)


def check_folder(outdir: Path, cfg: DictConfig) -> None:
    """Check that `outdir` has no results of other settings, which this job would overwrite.

    Raises:
        ValueError: it has.
    """
    if not (outdir / "metrics.json").exists():
        return
    stored = _settings(files.read_metrics(outdir).get("config") or {})
    ours = _settings(files.plain(shown(cfg)))
    keys = {*stored, *ours} - {"budget"}  # a larger budget goes on in the same folder
    if other := [key for key in sorted(keys) if stored.get(key) != ours.get(key)]:
        raise ValueError(
            f"{outdir} has results of other settings ({', '.join(other)}); keep them with another "
            "name=…, or overwrite them with force=true"
        )


def write_results(
    outdir: Path, cfg: DictConfig, inputs: Inputs, key: str, results: Results
) -> None:
    """Write the result files; metrics.json is last and marks the job as finished."""
    attributed, theta0, truth, changes = results
    answer = attributed.influences
    has_evidence = truth is None and len(answer.changes) > 0
    tables, warnings = tables_of(attributed, inputs, cfg.tokens, has_evidence)
    files.begin(outdir)
    curves = {"trajectory": answer.trajectory, "own_loss": answer.own_loss}
    for name, table in {**tables, **curves}.items():
        if table is not None:
            files.write(outdir, name, table)
    agreed: dict[str, dict[str, float]] | None = None
    statistics = load_statistics(cfg.statistics)
    actual = pd.DataFrame(columns=files.TRUTH)
    if truth is not None and changes is not None:
        files.write(outdir, "truth", truth.influences(changes, list(inputs.training.corpora)))
        if (changes["without"].map(len) > 1).any():
            names = [json.dumps(names, ensure_ascii=False) for names in changes["without"]]
            files.write(outdir, "models", changes.assign(without=names))
        predicted, actual = truth.compared(answer.scores, changes)
        agreed = agreement(predicted, truth_mean(actual), warnings.append, statistics)
    noise = ceilings(actual, warnings.append, statistics)
    files.write_metrics(
        outdir,
        {
            **about(cfg, inputs.training.store.method),
            "over": None if truth is None else truth.over,
            "agreement": agreed,
            **noise,
            "theta0_loss": attributed.theta0,
            "reading": {
                name: json.loads((folder / READING).read_text())
                for name, folder in inputs.training.corpora.items()
            },
            "candidates_already_there": inputs.already_there,
            "cost": attributed.cost.as_dict(),
            "budget_s": budget_s(cfg.budget, inputs.training.trainer.device),
            "rounds": attributed.rounds,
            "warnings": warnings,
            "data": fingerprint(inputs.key),
            "theta0": None if theta0 is None else str(theta0),
            "fingerprint": key if attributed.is_last else None,  # else the same command goes on
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    )
    log.info("wrote %s", outdir)


def about(cfg: DictConfig, method: str) -> dict[str, Any]:
    """Return what identifies a job: its settings and the code that runs it."""
    source = cfg.corpora._target_.rpartition(".")[0]  # its module says whether texts are generated
    return {
        "experiment": cfg.name,
        "method": method,
        "overrides": job_overrides(HydraConfig.get()),
        "tags": list(cfg.tags),
        "seed": cfg.seed,
        "train_seed": cfg.train_seed,
        "scale": cfg.scale,
        "versions": versions(),
        "git_commit": _git_commit(),
        "config": shown(cfg),
        "generated": getattr(sys.modules.get(source), "GENERATED", False),
    }


def _git_commit() -> str | None:
    """Return the commit of the checkout; None if the package is installed."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    with suppress(OSError):  # there is no git
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or None
    return None
