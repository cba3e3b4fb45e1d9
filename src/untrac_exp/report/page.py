"""``report.html``: the results of a sweep as one self-contained page."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from untrac_exp.report.figures import Drawing
from untrac_exp.report.result_files import plain, write_text
from untrac_exp.report.results import Sweep
from untrac_exp.report.style import COLOURS
from untrac_exp.report.tables import is_truth, number_format
from untrac_exp.statistics.agreement import STATISTICS


def write_page(sweep: Sweep, drawings: Sequence[Drawing]) -> Path:
    """Write ``report.html`` to the sweep's directory and return its path."""
    return write_text(sweep.directory / "report.html", render(sweep, drawings))


def render(sweep: Sweep, drawings: Sequence[Drawing]) -> str:
    """Render the page as HTML. Names from data are escaped; only the drawings' SVG is not."""
    environment = Environment(
        loader=PackageLoader("untrac_exp.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=lambda value: "" if value is None else value,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # keep test-set order
    shared, own = settings(sweep)
    return environment.get_template("report.html.j2").render(
        sweep=sweep,
        has_truth=len(sweep.truth) > 0,
        truths={testset: first_of_truths(sweep, testset) for testset in sweep.testsets},
        columns_of={testset: ranking_columns(sweep, testset) for testset in sweep.testsets},
        evidence={name: _by_testset(sweep.tables[name]) for name in ("examples", "duplicates")},
        agreement=plain(sweep.best_first.to_dict("records")),
        further=[f"{name}_mean" for name in sweep.statistics if name not in STATISTICS],
        drawings=[(drawing, Markup(drawing.svg)) for drawing in drawings],
        shared=shared,
        own=own,
        about=about(sweep),
        details=details(sweep),
        colours=COLOURS,
    )


def first_of_truths(sweep: Sweep, testset: str) -> list[dict[str, Any]]:
    """Return the corpus that each truth ranks first, and how many of its train seeds do.

    Returns {label, corpus, influence, agreeing, seeds} for each truth.
    """
    ranking, truths = sweep.rankings[testset], sweep.truths[sweep.truths["testset"] == testset]
    first = ranking[(ranking["rank"] == 1) & ranking["label"].map(is_truth)]
    first = first.drop_duplicates("label")
    rows = []
    for label, corpus, influence in first[["label", "corpus", "influence"]].to_numpy():
        means = truths[truths["label"] == label].groupby(["train_seed", "corpus"])["influence"]
        tops = means.mean().unstack().idxmax(axis=1)
        agreeing = int((tops == corpus).sum())
        row = {"label": label, "corpus": corpus, "influence": influence}
        rows.append(row | {"agreeing": agreeing, "seeds": len(tops)})
    return rows


def ranking_columns(sweep: Sweep, testset: str) -> list[dict[str, Any]]:
    """Return the columns of a ranking: the truth first, then the methods by agreement.

    Returns {label, is_truth, form, largest, cells} for each; form: of numbers, largest: absolute
    influence, cells: {corpus: row of `Sweep.rankings`}.
    """
    columns = {}
    for label, rows in sweep.rankings[testset].groupby("label", sort=False):
        columns[str(label)] = {
            "label": str(label),
            "is_truth": is_truth(str(label)),
            "form": f"%{number_format(rows['influence'])}",
            "largest": plain(rows["influence"].abs().max()) or 1.0,
            "cells": {row["corpus"]: plain(row) for row in rows.to_dict("records")},
        }
    best = sweep.best_first.query("testset == @testset")["label"]
    truths = [label for label in columns if is_truth(label)]
    return [columns[label] for label in [*truths, *best]]


def details(sweep: Sweep) -> dict[str, Any]:
    """Return every influence, for the interactive part of the page.

    Returns:
        {test set: {corpora, subsets, panels: [{label, steps, values}]}}. values has shape
        [len(steps) + 1][corpus][subset]: the influences at `steps` and then the final ones, rounded
        to four digits, None if undefined. Means over seeds; corpora by rank.
    """
    rows = pd.concat([sweep.trajectory, sweep.influences.assign(step=math.inf)], ignore_index=True)
    contents: dict[str, Any] = {}
    for testset in sweep.testsets:
        of_testset = rows[rows["testset"] == testset]
        corpora, subsets = sweep.corpora(testset), list(of_testset["subset"].unique())
        panels = []
        for label in sweep.rankings[testset]["label"].unique():
            table = of_testset[of_testset["label"] == label].pivot_table(
                index=["step", "corpus"], columns="subset", values="influence", dropna=False
            )
            cells = {
                step: table.loc[step].reindex(index=corpora, columns=subsets).to_numpy().tolist()
                for step in table.index.unique("step")
            }
            panels.append(
                {
                    "label": label,
                    "steps": [int(step) for step in cells if step < math.inf],
                    "values": [[[_digits(x) for x in row] for row in of] for of in cells.values()],
                }
            )
        contents[testset] = {"corpora": corpora, "subsets": subsets, "panels": panels}
    return contents


def settings(sweep: Sweep) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Split the configuration into settings shared by all jobs and settings by method."""
    flat = pd.DataFrame([_flat(job.get("config") or {}) for job in sweep.metrics])
    shared = flat.columns[flat.nunique(dropna=False) == 1]
    rest = flat.drop(columns=[*shared, "seed", "train_seed"], errors="ignore")
    own: dict[str, dict[str, str]] = {}
    for job, (_, row) in zip(sweep.metrics, rest.iterrows(), strict=True):
        if len(lines := row.dropna()):
            own.setdefault(job["label"], dict(lines))
    return dict(flat[shared].iloc[0]), own


def about(sweep: Sweep) -> dict[str, str]:
    """Return versions, commits and the finish time of the last job."""
    lines: dict[str, set[str]] = {}
    for job in sweep.metrics:
        commit = {"commit": job["git_commit"]} if job.get("git_commit") else {}
        for name, version in {**(job.get("versions") or {}), **commit}.items():
            lines.setdefault(name, set()).add(str(version))
    finished = max(str(job.get("finished") or "") for job in sweep.metrics)
    end = {"finished": finished} if finished else {}
    return {name: ", ".join(sorted(values)) for name, values in lines.items()} | end


def _by_testset(table: pd.DataFrame) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the rows of a table by test set and label."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in table.to_dict("records"):
        rows.setdefault(row["testset"], {}).setdefault(row["label"], []).append(plain(row))
    return rows


def _digits(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _flat(config: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(config, dict) and config:
        items = (_flat(value, f"{prefix}.{key}".lstrip(".")) for key, value in config.items())
        return {key: value for item in items for key, value in item.items()}
    return {prefix: str(config)} if prefix else {}
