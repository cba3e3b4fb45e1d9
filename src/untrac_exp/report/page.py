"""``report.html``: the results of a sweep as one self-contained page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from untrac_exp.report.coloured import coloured_texts, environment
from untrac_exp.report.figures import Drawing
from untrac_exp.report.result_files import plain, write_text
from untrac_exp.report.results import Sweep, is_truth, number_format
from untrac_exp.statistics.agreement import STATISTICS


def write_page(sweep: Sweep, drawings: Sequence[Drawing]) -> Path:
    """Write ``report.html`` to the sweep's directory and return its path."""
    return write_text(sweep.directory / "report.html", render(sweep, drawings))


def render(sweep: Sweep, drawings: Sequence[Drawing]) -> str:
    """Render the page as HTML. Names from data are escaped."""
    templates = environment()
    shared, own = settings(sweep)
    return templates.get_template("report.html.j2").render(
        sweep=sweep,
        columns_of={testset: ranking_columns(sweep, testset) for testset in sweep.testsets},
        agreement=plain(sweep.best_first.to_dict("records")),
        further=[f"{name}_mean" for name in sweep.statistics if name not in STATISTICS],
        drawings=drawings,
        shared=shared,
        own=own,
        last=max(sweep.metrics, key=lambda job: str(job.get("finished"))),
        coloured=coloured(sweep),
    )


def coloured(sweep: Sweep) -> dict[str, dict[str, dict[str, Markup]]]:
    """Return the coloured texts by test set, label and corpus, of a label's first job."""
    tokens = sweep.tables["tokens"]
    first = tokens["job"] == tokens.groupby("label")["job"].transform("min")
    texts: dict[str, dict[str, dict[str, Markup]]] = {}
    for names, rows in tokens[first].groupby(["testset", "label", "corpus"], sort=False):
        testset, label, corpus = map(str, names)
        of_label = texts.setdefault(testset, {}).setdefault(label, {})
        of_label[corpus] = Markup(coloured_texts(rows))
    return texts


def ranking_columns(sweep: Sweep, testset: str) -> list[dict[str, Any]]:
    """Return the columns of a ranking: the truth first, then the methods by agreement.

    Returns {label, is_truth, form, largest, cells, first} for each; form: of numbers, largest:
    absolute influence, cells: {corpus: row of `Sweep.rankings`}, first: the corpora of rank 1.
    """
    columns = {
        str(label): {
            "label": str(label),
            "is_truth": is_truth(str(label)),
            "form": f"%{number_format(rows['influence'])}",
            "largest": plain(rows["influence"].abs().max()) or 1.0,
            "cells": {row["corpus"]: plain(row) for row in rows.to_dict("records")},
            "first": list(rows.loc[rows["rank"] == 1, "corpus"]),
        }
        for label, rows in sweep.rankings[testset].groupby("label", sort=False)
    }
    best = sweep.best_first.query("testset == @testset")["label"]
    return [columns[label] for label in [*filter(is_truth, columns), *best]]


def settings(sweep: Sweep) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Split the configuration into settings shared by all jobs and settings by method."""
    configs = [pd.json_normalize(job.get("config") or {}).map(str) for job in sweep.metrics]
    flat = pd.concat(configs, ignore_index=True)
    is_shared = flat.nunique(dropna=False) == 1
    rest = flat.loc[:, ~is_shared].drop(columns=["seed", "train_seed"], errors="ignore")
    own: dict[str, dict[str, str]] = {}
    for job, (_, row) in zip(sweep.metrics, rest.iterrows(), strict=True):
        own.setdefault(job["label"], dict(row.dropna()))
    return dict(flat.loc[:, is_shared].iloc[0]), own
