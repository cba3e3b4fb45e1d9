"""Read the finished jobs below a directory."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from untrac_exp.report.result_files import TABLES, TRUTH, changed_table, read_metrics, read_table
from untrac_exp.report.results import JOB, Sweep, labelled

_REPETITIONS = ("seed", "train_seed")
_OF_METHODS = ("method", "optimizer", "objective", "recipe")
"""Groups of overrides that change no data."""
_OF_A_JOB = ("metrics.json", "scores.csv", ".hydra")
"""What the folder of a job has; metrics.json only if the job has finished."""


def collect(directory: Path) -> Sweep:
    """Read the files of a sweep.

    Args:
        directory: of a sweep or a job; jobs are the folders below it that have a metrics.json.

    Returns:
        The finished jobs. Unfinished or unreadable jobs are left out, with a warning in
        `Sweep.warnings`.

    Raises:
        ValueError: there is no finished job.
    """
    directory = Path(directory)
    metrics, warnings = [], []
    for outdir in sorted({path.parent for name in _OF_A_JOB for path in directory.rglob(name)}):
        try:
            metrics.append(_read_job(outdir))
        except ValueError as error:
            warnings.append(str(error))
    if not metrics:
        hint = f"; {warnings[0]}" if warnings else ""
        raise ValueError(f"{directory}: no finished job (no **/metrics.json) to report{hint}")
    names = variants([job["overrides"] for job in metrics])
    for job, variant in zip(metrics, names, strict=True):
        job |= {"variant": variant, "label": labelled(job["method"], variant)}
    metrics.sort(key=_sort_key)
    several = len({job["train_seed"] for job in metrics}) > 1
    for job in metrics:
        train_seed = f", train seed {job['train_seed']}" if several else ""
        job["name"] = f"{job['label']}, seed {job['seed']}{train_seed}"
    files = [job.pop("tables") for job in metrics]
    tables = {name: _stack(metrics, [of_job[name] for of_job in files], name) for name in TABLES}
    sweep = Sweep(directory, metrics, tables)
    more = [
        *_truth_warnings(sweep),
        *_data_warnings(metrics),
        *warnings,
        *_job_warnings(metrics),
    ]
    sweep.warnings.extend(dict.fromkeys(more))
    return sweep


def variants(overrides: Sequence[Mapping[str, str]]) -> list[str]:
    """Describe jobs by the overrides that differ between them, such as "lr=1e-05,optimizer=sgd".

    Keys are cut to their last part where that is unambiguous. Seeds make no variant: jobs that
    differ in them only are repetitions.
    """
    table = pd.DataFrame(list(overrides), dtype=object).drop(
        columns=list(_REPETITIONS), errors="ignore"
    )
    keys = [key for key in sorted(map(str, table)) if table[key].nunique(dropna=False) > 1]
    last = {key: key.rpartition(".")[2] for key in keys}
    n = Counter(last.values())
    return [
        ",".join(
            f"{last[key] if n[last[key]] == 1 else key}={job[key]}" for key in keys if key in job
        )
        for job in overrides
    ]


def _read_job(outdir: Path) -> dict[str, Any]:
    """Return a job's metrics and tables; `ValueError` if a file is missing or unreadable."""
    if not (outdir / "metrics.json").exists():
        raise ValueError(f"{outdir}: not finished, left out")
    job = read_metrics(outdir)
    tables = {name: read_table(outdir / f"{name}.csv", TABLES[name]) for name in TABLES}
    changed = "scores.csv" if tables["scores"] is None else changed_table(outdir, job)
    if changed:
        raise ValueError(
            f"{outdir}: {changed} is missing or not the job's; left out, run the job again"
        )
    return job | {
        "method": str(job["method"]),
        "overrides": job.get("overrides") or {},
        "train_seed": int(job.get("train_seed") or 0),
        "seed": int(job["seed"]),
        "cost": job.get("cost") or {},
        "tables": tables,
    }


def _sort_key(job: dict[str, Any]) -> tuple[str, list[str | float], int, int]:
    """Return method, variant (split so that numbers sort by value), train seed and seed."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", job["variant"])  # odd parts are numbers
    variant = [float(part) if i % 2 else part for i, part in enumerate(parts)]
    return job["method"], variant, job["train_seed"], job["seed"]


def _stack(
    metrics: list[dict[str, Any]], tables: list[pd.DataFrame | None], name: str
) -> pd.DataFrame:
    """Join a table of all jobs; a column of the file replaces that of the job (train_seed)."""
    columns = list(dict.fromkeys([*TABLES[name], "job", "label", *JOB]))
    stacked = [
        table.assign(
            **{column: job[column] for column in ("label", *JOB) if column not in table}, job=i
        )
        for i, (job, table) in enumerate(zip(metrics, tables, strict=True))
        if table is not None
    ]
    return pd.concat(stacked or [pd.DataFrame(columns=columns)], ignore_index=True)[columns]


def _truth_warnings(sweep: Sweep) -> list[str]:
    """Warn if jobs of a variant were compared with different truths."""
    truth = sweep.tables["truth"]
    values = truth.groupby(["variant", *TRUTH[:-1]], dropna=False)["influence"]
    is_same = values.nunique(dropna=False) == 1
    return [
        f"{labelled('jobs', str(variant))} were compared with different truths: they ran with "
        "other configurations; run the sweep again with force=true or delete the older ones"
        for variant in is_same[~is_same].index.unique("variant")
    ]


def _data_warnings(metrics: list[dict[str, Any]]) -> list[str]:
    """Warn if jobs stand in one table that read other data, though nothing in it says so."""
    newest = sorted(metrics, key=lambda job: str(job.get("finished")), reverse=True)
    data: dict[str, Any] = {}
    others = []
    for job in newest:
        shown = {
            key: value
            for key, value in job["overrides"].items()
            if key.partition(".")[0] not in _OF_METHODS
        }
        same = str((sorted(shown.items()), job["seed"], job["train_seed"]))
        if job.get("data") != data.setdefault(same, job.get("data")):
            others.append(job["name"])
    if not others:
        return []
    return [
        f"{', '.join(sorted(others))}: computed from other corpora, test sets or weights than the "
        "newest jobs, so do not compare them; run them again, or delete their folders"
    ]


def _job_warnings(metrics: list[dict[str, Any]]) -> list[str]:
    """Return the warnings of the jobs with their names; once, without, if all jobs have it."""
    jobs_with = Counter(text for job in metrics for text in set(job.get("warnings") or []))
    return [
        text if jobs_with[text] == len(metrics) > 1 else f"{job['name']}: {text}"
        for job in metrics
        for text in job.get("warnings") or []
    ]
