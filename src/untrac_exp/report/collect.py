"""Read the finished jobs of a sweep directory into tables."""

import inspect
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import get_method

from untrac_exp.report.result_files import TABLES, TRUTH, read_metrics, read_table
from untrac_exp.statistics.agreement import INTERVAL, STATISTICS, noise_key

JOB = ["method", "variant", "train_seed", "seed"]
COSTS = ("wall_s", "forward_tokens", "backward_tokens", "peak_rss_bytes", "peak_device_bytes")
KINDS = ("ceiling", "attainable")

_Tables = dict[str, pd.DataFrame | None]


@dataclass(frozen=True)
class Sweep:
    """All finished jobs below one directory.

    Rows are sorted by method, variant (numbers by value), train_seed (of θ0) and seed. Both
    seeds are repetitions, so a variant does not include the train seed. Its keys are shortened by
    `short_keys`.

    Attributes:
        jobs: `JOB`, label, the costs (``wall_s`` etc.; NaN if not measured).
        agreement: `JOB`, testset, pearson, spearman, pearson_pooled and further statistics,
            pearson_low, pearson_high, n_corpora, and ``ceiling_<statistic>`` and
            ``attainable_<statistic>`` of each.
        scores, trajectory: `JOB`, label and the columns of the job's file.
        metrics: ``metrics.json`` of each job, with its label, folder, and run (its seeds as text).
        truth: variant, train_seed, corpus, testset, subset, influence; one truth per variant,
            since a sweep may vary corpora or models.
    """

    directory: Path
    jobs: pd.DataFrame
    agreement: pd.DataFrame
    scores: pd.DataFrame
    trajectory: pd.DataFrame
    truth: pd.DataFrame
    metrics: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)

    @property
    def experiment(self) -> str:
        """Name of the experiment, for headings."""
        return str(self.metrics[0].get("experiment") or self.directory.parent.name)

    @property
    def scale(self) -> str:
        """Scale preset, for headings."""
        return str(self.metrics[0].get("scale") or self.directory.name)

    @property
    def over(self) -> str:
        """What the correlations are computed over, such as "corpora"."""
        return " or ".join(dict.fromkeys(job.get("over") or "corpora" for job in self.metrics))

    @property
    def testsets(self) -> list[str]:
        """Test sets in the order of the jobs' scores."""
        return list(self.scores["testset"].unique())

    @property
    def invented(self) -> str | None:
        """A notice that the corpora are generated text; None if they are real."""
        if not any(_is_generated((job.get("config") or {}).get("corpora")) for job in self.metrics):
            return None
        return (
            "Corpora and test sets are invented text: a corpus named after a site or a book "
            "contains nothing from it."
        )

    @property
    def statistics(self) -> list[str]:
        """Agreement statistics of any job; those of `STATISTICS` first."""
        return statistics(self.metrics)

    @property
    def labels(self) -> list[str]:
        """Methods (with their variant) in table order."""
        return list(self.jobs["label"].unique())


def collect(directory: Path) -> Sweep:
    """Read the files of a sweep.

    Args:
        directory: of a sweep, with jobs in any folder below, or of a single job.

    Returns:
        The finished jobs. Unfinished or unreadable jobs are left out, with a warning in
        `Sweep.warnings`.

    Raises:
        ValueError: there is no finished job.
    """
    directory = Path(directory)
    metrics, warnings = [], []
    folders = {path.parent for name in ("metrics.json", ".hydra") for path in directory.rglob(name)}
    for outdir in sorted(folders):
        if (outdir / "metrics.json").exists():
            try:
                metrics.append(_read_job(outdir))
            except ValueError as error:
                warnings.append(str(error))
        else:
            warnings.append(f"{outdir.relative_to(directory.parent)}: not finished, left out")
    if not metrics:
        hint = f"; {warnings[0]}" if warnings else ""
        raise ValueError(f"{directory}: no finished job (no metrics.json) to report{hint}")

    metrics.sort(key=_sort_key)
    tables = [job.pop("tables") for job in metrics]
    cut = short_keys(job["variant"] for job in metrics)
    short = short_variants(cut.values())
    texts = Counter(text for job in metrics for text in set(job.get("warnings") or []))
    several = len({job["train_seed"] for job in metrics}) > 1
    for job in metrics:
        job["variant"] = cut[job["variant"]]
        job["label"] = labelled(job["method"], short[job["variant"]])
        train_seed = f", train seed {job['train_seed']}" if several else ""
        job["run"] = f"seed {job['seed']}{train_seed}"
        job["name"] = f"{job['label']}, {job['run']}"
        for text in job.get("warnings") or []:
            in_all = texts[text] == len(metrics) > 1
            warnings.append(text if in_all else f"{job['name']}: {text}")
    truth, truth_warnings = _truths(metrics, tables)
    return Sweep(
        directory=directory,
        jobs=_jobs(metrics),
        agreement=_agreement(metrics),
        scores=_stack(metrics, tables, "scores"),
        trajectory=_stack(metrics, tables, "trajectory"),
        truth=truth,
        metrics=metrics,
        warnings=list(dict.fromkeys(truth_warnings + warnings)),
    )


def _read_job(outdir: Path) -> dict[str, Any]:
    """Return a job's metrics and tables; `ValueError` if a file is unreadable."""
    job = read_metrics(outdir)
    names = ("scores", "trajectory", "truth")
    tables = {name: read_table(outdir / f"{name}.csv", TABLES[name]) for name in names}
    if tables["scores"] is None:
        raise ValueError(f"{outdir}: no scores.csv; delete the folder and run the job again")
    # the train seed of θ0 is a repetition, like `seed`
    overrides = {
        key: str(value).replace(",", "+")  # a comma separates two overrides
        for key, value in (job.get("overrides") or {}).items()
        if key != "train_seed"
    }
    train_seed = job.get("train_seed", (job.get("config") or {}).get("train_seed", 0))
    return job | {
        "method": str(job["method"]),
        "variant": ",".join(f"{key}={value}" for key, value in sorted(overrides.items())),
        "train_seed": int(train_seed),
        "seed": int(job["seed"]),
        "folder": str(outdir),
        "tables": tables,
    }


def _sort_key(job: dict[str, Any]) -> tuple[str, list[str | float], int, int]:
    """Return method, variant (split so that numbers sort by value), train seed and seed."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", job["variant"])  # odd parts are numbers
    variant = [float(part) if i % 2 else part for i, part in enumerate(parts)]
    return job["method"], variant, job["train_seed"], job["seed"]


def short_keys(variants: Iterable[str]) -> dict[str, str]:
    """Map each variant to one with keys cut to their last part where that is unambiguous.

    `optimizer.lr=5e-06` becomes `lr=5e-06`.
    """
    parts = {variant: [p for p in variant.split(",") if p] for variant in variants}
    keys = {part.partition("=")[0] for of_one in parts.values() for part in of_one}
    ends = Counter(key.rpartition(".")[2] for key in keys)

    def short(part: str) -> str:
        key, equals, value = part.partition("=")
        end = key.rpartition(".")[2]
        return f"{end if ends[end] == 1 else key}{equals}{value}"

    return {variant: ",".join(map(short, of_one)) for variant, of_one in parts.items()}


def short_variants(variants: Iterable[str]) -> dict[str, str]:
    """Map each variant to the overrides that are not common to all variants."""
    parts = {variant: cut.split(",") for variant, cut in short_keys(variants).items()}
    common = set.intersection(*map(set, parts.values())) if parts else set()
    return {
        variant: ", ".join(part for part in of_one if part not in common)
        for variant, of_one in parts.items()
    }


def labelled(name: str, variant: str) -> str:
    """Join the name of a method (or the truth) and its short variant."""
    return f"{name} · {variant}" if variant else name


def _head(job: dict[str, Any]) -> dict[str, Any]:
    return {name: job[name] for name in (*JOB, "label")}


def _jobs(metrics: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [{**_head(job), **(job.get("cost") or {})} for job in metrics]
    frame = pd.DataFrame(rows, columns=[*JOB, "label", *COSTS])
    return frame.astype(dict.fromkeys(COSTS, "float64"))


def _agreement(metrics: list[dict[str, Any]]) -> pd.DataFrame:
    names = statistics(metrics)
    noise = {f"{kind}_{name}": noise_key(kind, name) for kind in KINDS for name in names}
    rows = [
        {**_head(job), "testset": testset, **(values or {})}
        | {column: (job.get(key) or {}).get(testset) for column, key in noise.items()}
        for job in metrics
        for testset, values in (job.get("agreement") or {}).items()
    ]
    numbers = [*names, *INTERVAL, "n_corpora", *noise]
    frame = pd.DataFrame(rows, columns=[*JOB, "label", "testset", *numbers])
    return frame.astype(dict.fromkeys(numbers, "float64"))


def statistics(metrics: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the agreement statistics of any of these jobs; those of `STATISTICS` first."""
    found = [values or {} for job in metrics for values in (job.get("agreement") or {}).values()]
    names = dict.fromkeys([*STATISTICS, *(name for values in found for name in values)])
    return [name for name in names if name not in (*INTERVAL, "n_corpora")]


def _stack(metrics: list[dict[str, Any]], tables: list[_Tables], name: str) -> pd.DataFrame:
    columns = [*JOB, "label", *TABLES[name]]
    found = zip(metrics, (of_job[name] for of_job in tables), strict=True)
    stacked = [table.assign(**_head(job)) for job, table in found if table is not None]
    return pd.concat(stacked or [pd.DataFrame(columns=columns)], ignore_index=True)[columns]


def _truths(metrics: list[dict[str, Any]], tables: list[_Tables]) -> tuple[pd.DataFrame, list[str]]:
    """Return one truth per variant, and a warning if jobs of a variant have different truths."""
    of_variant: dict[str, tuple[str, pd.DataFrame]] = {}
    warnings = []
    for job, of_job in zip(metrics, tables, strict=True):
        if (table := of_job["truth"]) is None:
            continue
        first, known = of_variant.setdefault(job["variant"], (job["name"], table))
        if not _in_order(known).equals(_in_order(table)):
            warnings.append(
                f"{job['name']} was compared with another truth than {first}: they ran with other "
                "configurations; run the sweep again with force=true or delete the older one"
            )
    columns = ["variant", *TRUTH]
    stacked = [table.assign(variant=variant) for variant, (_, table) in of_variant.items()]
    stacked = stacked or [pd.DataFrame(columns=columns)]
    return pd.concat(stacked, ignore_index=True)[columns], warnings


def _is_generated(corpora: Any) -> bool:
    """Return whether the source of a `corpora` node is a module marked as `GENERATED`."""
    try:
        source = get_method(corpora["_target_"])
    except Exception:  # no such node, or its code is not there any more
        return False
    return getattr(inspect.getmodule(source), "GENERATED", False)


def _in_order(truth: pd.DataFrame) -> pd.DataFrame:
    return truth.sort_values(TRUTH[:-1], ignore_index=True)
