"""Terminal summary: rankings, agreement with the truth, and warnings."""

import math
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from untrac_exp.report.results import Sweep, means, number_format

_EXAMPLES, _WIDE = 5, 70
"""Number of texts shown for a method, and their longest length."""


def print_sweep(sweep: Sweep, page: Path | None = None, out: Console | None = None) -> None:
    """Print the ranking for each test set, agreement, warnings and, last, the path of the page."""
    if out is None:
        out = Console(highlight=False)
        if not out.is_terminal:  # a pipe
            out.width = max(out.width, 120)
    _print(out, "")
    if sweep.invented:
        _print(out, f"{sweep.invented}\n", "italic")
    for testset in sweep.testsets:
        _print_ranking(sweep, testset, out)
        _print_examples(sweep, testset, out)
        _print_candidates(sweep, testset, out)
        _print(out, "")
    if sweep.has_truth:
        _print_agreement(sweep, out)
    for warning in sweep.warnings:
        _print(out, Text("warning: ", style="yellow").append(warning))
    if page:
        _print(out, Text("\nReport: ", style="bold").append(str(page), style="cyan"))


def _print(out: Console, text: str | Text, style: str = "") -> None:
    """Print one line, which the terminal wraps, so that it can be copied; names are no markup."""
    out.print(Text(text) if isinstance(text, str) else text, style=style, soft_wrap=True)


def _print_table(out: Console, table: pd.DataFrame) -> None:
    """Print as many columns side by side as fit, and the others below."""
    with pd.option_context("display.unicode.east_asian_width", True):
        lines = table.fillna("–").to_string(line_width=out.width).replace(" \\\n", "\n")
    text = Text(f"\n{lines}\n")
    text.highlight_regex(r"\S+ \(1\)", "bold green")
    _print(out, text)


def _print_ranking(sweep: Sweep, testset: str, out: Console) -> None:
    """Print influence, interval and rank of each corpus, by the truth and by each method."""
    _print(out, f"Which corpus made the model say {testset}?", "bold")
    ranking = sweep.rankings[testset]
    columns = {}
    for label, rows in ranking.groupby("label", sort=False):
        form = number_format(rows["influence"])
        columns[label] = rows.set_index("corpus").apply(_influence, axis=1, form=form)
    _print_table(out, pd.DataFrame(columns).reindex(sweep.corpora(testset)))
    explained = "influence: how much the loss rises without the corpus (rank)"
    if ranking["ci_low"].notna().any():
        explained += ", [95 % interval over test examples]"
    if ranking["lead_low"].notna().any():
        explained += "; ≈: not told apart from the next rank"
    if loss := sweep.theta0_loss(testset):
        explained += f"; {loss}"
    _print(out, explained, "dim")


def _influence(cell: pd.Series, form: str) -> str:
    """Return the influence with its interval, and its rank if it has one."""
    if not math.isfinite(cell["influence"]):
        return "undefined"
    known = math.isfinite(cell["ci_low"])
    interval = f"[{cell['ci_low']:{form}}, {cell['ci_high']:{form}}] " if known else ""
    shown = f"{interval}{cell['influence']:{form}}"
    if "rank" not in cell:
        return shown
    mark = "≈" if cell["lead_low"] <= 0 else " "
    return f"{shown} ({cell['rank']:.0f}){mark}"


def _print_examples(sweep: Sweep, testset: str, out: Console) -> None:
    """Print the texts whose loss changed most, which only runs without truth have."""
    examples = sweep.tables["examples"]
    for label, rows in examples[examples["testset"] == testset].groupby("label", sort=False):
        _print(out, f"Texts of the {rows['read'].iloc[0]} with the largest loss change ({label})")
        for row in rows.head(_EXAMPLES).itertuples():
            text = " ".join(str(row.text).split())
            text = text if len(text) <= _WIDE else f"{text[:_WIDE]}…"
            _print(out, f"  {row.change:+.3f} {row.corpus}: {text}")


def _print_candidates(sweep: Sweep, testset: str, out: Console) -> None:
    """Print what adding each candidate would do, by each method, means over subsets and seeds."""
    candidates = sweep.tables["candidates"]
    candidates = candidates[candidates["testset"] == testset]
    if candidates.empty:
        return
    _print(out, f"What would adding a candidate do to {testset}?", "bold")
    columns = {}
    for label, rows in candidates.groupby("label", sort=False):
        form = number_format(rows["influence"])
        cells = means(rows, ["corpus"], ["influence", "ci_low", "ci_high"]).set_index("corpus")
        columns[label] = cells.apply(_influence, axis=1, form=form)
    _print_table(out, pd.DataFrame(columns).rename_axis(None))
    explained = (
        "positive: adding it would lower the loss; the interval covers the sampling of texts, not "
        "the noise of a training, so rely on the order more than on a sign"
    )
    _print(out, explained, "dim")


def _print_agreement(sweep: Sweep, out: Console) -> None:
    """Print the correlation of each method with the truth on each test set, the best first."""
    shown = [name for name in sweep.statistics if name != "pearson_pooled"]
    lines = [
        {"test set": row["testset"], "method": row["label"]}
        | {name: _number(row[f"{name}_mean"], row[f"{name}_std"]) for name in shown}
        | {
            "95 % interval": f"[{_number(row['pearson_low'])}, {_number(row['pearson_high'])}]",
            "least": _number(row["pearson_least"]),
            "of attainable": "–" if pd.isna(row["relative"]) else f"{row['relative']:.0%}",
            "attainable": _number(row["attainable"]),
            "noise ceiling": _number(row["ceiling"]),
            "seconds": f"{row['wall_s']:,.1f}",
        }
        for row in sweep.best_first.to_dict("records")
    ]
    over = " or ".join(filter(None, sweep.summary["varied"].unique())) or "runs"
    _print(out, "Agreement with the truth", "bold")
    _print_table(out, pd.DataFrame(lines).set_index(["test set", "method"]))
    explained = (
        f"correlation with the truth over {sweep.over}, mean over subsets ± std over {over}; 95 % "
        f"interval of pearson over {sweep.over}; least: pearson without the one of them that it "
        "turns on most; attainable: pearson of a method "
        "without error with the mean of the truths; noise ceiling: pearson of truths of single "
        "train seeds"
    )
    _print(out, f"{explained}\n", "dim")


def _number(mean: float, std: float = math.nan) -> str:
    spread = "" if math.isnan(std) else f" ± {std:.2f}"
    return "–" if math.isnan(mean) else f"{mean:.2f}{spread}"
