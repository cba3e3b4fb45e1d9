"""``report.html``: the results of a sweep as one self-contained page."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from untrac_exp.report.collect import Sweep
from untrac_exp.report.figures import Drawing
from untrac_exp.report.result_files import plain, write_text
from untrac_exp.report.style import COLOURS
from untrac_exp.report.tables import (
    TRUTH_LABEL,
    influences,
    number_format,
    ranking,
    summarise,
    truths,
)
from untrac_exp.statistics.agreement import STATISTICS

LOADERS: list[BaseLoader] = [PackageLoader("untrac_exp.report")]


def write_page(sweep: Sweep, drawings: Sequence[Drawing]) -> Path:
    """Write ``report.html`` to the sweep's directory and return its path."""
    return write_text(sweep.directory / "report.html", render(sweep, drawings))


def render(sweep: Sweep, drawings: Sequence[Drawing]) -> str:
    """Render the page as HTML. Names from data are escaped; only the drawings' SVG is not."""
    environment = Environment(
        loader=ChoiceLoader(LOADERS), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=lambda value: "" if value is None else value,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # keep test-set order
    shared, own = settings(sweep)
    return environment.get_template("report.html.j2").render(
        experiment=sweep.experiment,
        scale=sweep.scale,
        invented=sweep.invented,
        testsets=sweep.testsets,
        answers={testset: answer(sweep, testset) for testset in sweep.testsets},
        rankings={testset: ranking_table(sweep, testset) for testset in sweep.testsets},
        agreement=agreement_table(sweep),
        further=[f"{name}_mean" for name in sweep.statistics if name not in STATISTICS],
        over=sweep.over,
        has_truth=len(sweep.truth) > 0,
        drawings=[(drawing, Markup(drawing.svg)) for drawing in drawings],
        warnings=sweep.warnings,
        shared=shared,
        own=own,
        about=about(sweep),
        answer=_given_answer(sweep),
        details=details(sweep),
        colours=COLOURS,
    )


def answer(sweep: Sweep, testset: str) -> dict[str, Any]:
    """Summarize which corpus the truth and each method rank first on a test set.

    Returns:
        ``truth``: one {label, corpus, influence, helps, seeds_agreeing, seeds} per truth;
        ``named``: [(corpus, methods that rank it first, whether the truth does)], most methods
        first; ``undefined``: methods without a ranking.
    """
    table = ranking(sweep, testset)
    truth = truths(sweep)
    truth = truth[truth["testset"] == testset]
    first = table[table["rank"] == 1].drop_duplicates("label")
    named = first[~first["label"].map(_is_truth)].groupby("corpus", sort=False)["label"].agg(list)
    of_truth = []
    for row in first[first["label"].map(_is_truth)].to_dict("records"):
        means = truth[truth["label"] == row["label"]].groupby(["train_seed", "corpus"])["influence"]
        tops = means.mean().unstack().idxmax(axis=1)
        of_truth.append(
            {
                "label": row["label"],
                "corpus": row["corpus"],
                "influence": f"{row['influence']:+.3g}",
                "helps": row["influence"] > 0,
                "seeds_agreeing": int((tops == row["corpus"]).sum()),
                "seeds": len(tops),
            }
        )
    right = {item["corpus"] for item in of_truth}
    most_first = sorted(named.items(), key=lambda item: -len(item[1]))
    others = table.loc[~table["label"].isin(first["label"]), "label"].unique()
    return {
        "truth": of_truth,
        "named": [(corpus, labels, corpus in right) for corpus, labels in most_first],
        "undefined": [label for label in others if not _is_truth(label)],
    }


def ranking_table(sweep: Sweep, testset: str) -> dict[str, Any]:
    """Return columns (label, whether it is the truth) and rows (corpus, cells) of the ranking.

    The truth comes first, then the methods by decreasing agreement.
    """
    table = ranking(sweep, testset)
    best = [row["label"] for row in agreement_table(sweep) if row["testset"] == testset]
    labels = [label for label in table["label"].unique() if _is_truth(label)] + best
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for label, part in table.groupby("label"):
        form, largest = number_format(part["influence"]), part["influence"].abs().max() or 1.0
        for row in part.to_dict("records"):
            cell = {"value": None, "text": "undefined", "rank": None, "bar": 0, "interval": ""}
            if pd.notna(row["influence"]):
                # bar: percent of half the cell width; positive to the right of the middle
                cell |= {
                    "value": row["influence"],
                    "bar": round(50 * row["influence"] / largest, 1),
                }
                cell |= {"text": f"{row['influence']:{form}}", "rank": int(row["rank"])}
            if pd.notna(row["ci_low"]):
                cell["interval"] = f"{row['ci_low']:{form}} … {row['ci_high']:{form}}"
            cells[row["corpus"], str(label)] = cell
    rows = [
        (corpus, [cells.get((corpus, label)) for label in labels])
        for corpus in table["corpus"].unique()
    ]
    return {"columns": [(label, _is_truth(label)) for label in labels], "rows": rows}


def agreement_table(sweep: Sweep) -> list[dict[str, Any]]:
    """Return one row per method and test set: summary, pooled correlation and cost."""
    by = ["method", "variant", "testset"]
    pooled = sweep.agreement.groupby(by)["pearson_pooled"].agg(lambda r: r.mean(skipna=False))
    table = summarise(sweep).merge(pooled.reset_index(), on=by, how="left")
    table["testset"] = pd.Categorical(table["testset"], sweep.testsets)
    order = ["testset", "pearson_mean", "label"]
    return plain(table.sort_values(order, ascending=[True, False, True]).to_dict("records"))


def details(sweep: Sweep) -> dict[str, Any]:
    """Return every influence, for the interactive part of the page.

    Returns:
        {test set: {corpora, subsets, panels: [{label, steps, values}]}}. values has shape
        [len(steps) + 1][corpus][subset]: the influences at `steps` and then the final ones, rounded
        to four digits, None if undefined. Means over seeds; corpora by rank.
    """
    final = influences(sweep).assign(step=-1)
    rows = pd.concat([sweep.trajectory, final], ignore_index=True)
    found: dict[str, Any] = {}
    for testset, ends in final.groupby("testset", sort=False):
        of_testset = rows[rows["testset"] == testset]
        corpora = list(ranking(sweep, str(testset))["corpus"].unique())
        subsets = list(ends["subset"].unique())
        panels = []
        for label in ends["label"].unique():
            part = of_testset[of_testset["label"] == label]
            mean = part.groupby(["step", "corpus", "subset"])["influence"].mean()
            steps = sorted({int(step) for step in part["step"]} - {-1})
            cells = [
                mean.loc[step].unstack("subset").reindex(index=corpora, columns=subsets)
                for step in [*steps, -1]
            ]
            values = [[[_digits(x) for x in row] for row in table.to_numpy()] for table in cells]
            panels.append({"label": label, "steps": steps, "values": values})
        found[str(testset)] = {"corpora": corpora, "subsets": subsets, "panels": panels}
    return found


def settings(sweep: Sweep) -> tuple[list[tuple[str, str]], dict[str, list[tuple[str, str]]]]:
    """Split the configuration into settings shared by all jobs and settings by method."""
    flat = pd.DataFrame([_flat(job.get("config") or {}) for job in sweep.metrics])
    shared = flat.columns[flat.nunique(dropna=False) == 1]
    rest = flat.drop(columns=[*shared, "seed", "train_seed"], errors="ignore")
    own: dict[str, list[tuple[str, str]]] = {}
    for label, config in zip(sweep.jobs["label"], rest.to_dict("records"), strict=True):
        if lines := [(str(key), value) for key, value in config.items() if pd.notna(value)]:
            own.setdefault(label, lines)
    return [(str(key), value) for key, value in flat[shared].iloc[0].items()], own


def about(sweep: Sweep) -> list[tuple[str, str]]:
    """Return versions, commits and the finish time of the last job."""
    found: dict[str, set[str]] = {}
    for job in sweep.metrics:
        for name, version in (job.get("versions") or {}).items():
            found.setdefault(str(name), set()).add(str(version))
        if job.get("git_commit"):
            found.setdefault("commit", set()).add(str(job["git_commit"]))
    lines = [(name, ", ".join(sorted(values))) for name, values in found.items()]
    finished = [str(job["finished"]) for job in sweep.metrics if job.get("finished")]
    return lines + ([("finished", max(finished))] if finished else [])


def _given_answer(sweep: Sweep) -> Any:
    """Return the contents of `answer.json`; None if there is no such file."""
    path = sweep.directory / "answer.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: unreadable ({error}); delete it and report again") from None


def _digits(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _is_truth(label: str) -> bool:
    return label == TRUTH_LABEL or label.startswith(f"{TRUTH_LABEL} · ")


def _flat(config: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(config, dict) and config:
        items = (_flat(value, f"{prefix}.{key}".lstrip(".")) for key, value in config.items())
        return {key: value for item in items for key, value in item.items()}
    return {prefix: str(config)} if prefix else {}
