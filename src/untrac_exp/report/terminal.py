"""Terminal summary: rankings, agreement with the truth, and warnings."""

import math
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from untrac_exp.report.collect import collect
from untrac_exp.report.results import Sweep
from untrac_exp.report.tables import number_format

_EXAMPLES, _WIDE = 5, 70
"""Number of texts shown for a method, and their longest length."""


def console() -> Console:
    """Return a console that is wide enough for the tables if the output is a pipe."""
    out = Console(highlight=False)
    return out if out.width >= 100 or out.is_terminal else Console(highlight=False, width=120)


def print_job(outdir: Path, out: Console | None = None) -> None:
    """Print the rankings and the agreement of one finished job."""
    print_tables(collect(Path(outdir)), out)


def print_sweep(sweep: Sweep, page: Path, out: Console | None = None) -> None:
    """Print the tables of a sweep; the last line is the path of its page."""
    out = out or console()
    print_tables(sweep, out)
    _print(out, Text("Report: ", style="bold").append(str(page), style="cyan"))


def print_tables(sweep: Sweep, out: Console | None = None) -> None:
    """Print the corpus ranking of every test set, the agreement and the warnings."""
    out = out or console()
    _print(out, "")
    if sweep.invented:
        _print(out, f"{sweep.invented}\n", "italic")
    for testset in sweep.testsets:
        _print_ranking(sweep, testset, out)
        _print_evidence(sweep, testset, out)
        _print(out, "")
    if len(sweep.truth):
        _print_agreement(sweep, out)
    for warning in sweep.warnings:
        _print(out, Text("warning: ", style="yellow").append(warning))
    if sweep.warnings:
        _print(out, "")


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
    rows = sweep.rankings[testset]
    columns: dict[str, dict[str, str]] = {}
    for label, part in rows.groupby("label", sort=False):
        form = number_format(part["influence"])
        columns[str(label)] = {row["corpus"]: _influence(row, form) for _, row in part.iterrows()}
    _print(out, f"Which corpus made the model say {testset}?", "bold")
    if sweep.truth.empty:
        _print(out, _verdict(sweep, testset))
    _print_table(out, pd.DataFrame(columns).reindex(sweep.corpora(testset)))
    explained = "influence: how much the loss rises without the corpus (rank)"
    if rows["ci_low"].notna().any():
        explained += ", [95 % interval over test examples]"
    if rows["lead_low"].notna().any():
        explained += "; ≈: not told apart from the next rank"
    _print(out, explained, "dim")


def _influence(cell: pd.Series, form: str) -> str:
    if not math.isfinite(cell["influence"]):
        return "undefined"
    known = math.isfinite(cell["ci_low"])
    interval = f"[{cell['ci_low']:{form}}, {cell['ci_high']:{form}}] " if known else ""
    mark = "≈" if cell["lead_low"] <= 0 else " "
    return f"{interval}{cell['influence']:{form}} ({cell['rank']:.0f}){mark}"


def _verdict(sweep: Sweep, testset: str) -> str:
    """Return one sentence that says which methods put which corpus first."""
    parts = []
    for corpus, told in sweep.first_ranked(testset).items():
        doubts = [label for label, apart in told.items() if apart is False]
        tail = ", told apart from the next" if all(told.values()) else ""
        if doubts:
            of_these = f" by {', '.join(doubts)}" if len(doubts) < len(told) else ""
            tail = f", not told apart from the next{of_these}"
        verb = "puts" if len(told) == 1 else "put"
        parts.append(f"{', '.join(told)} {verb} '{corpus}' first{tail}")
    return f"{'; '.join(parts)}."


def _print_evidence(sweep: Sweep, testset: str, out: Console) -> None:
    """Print the methods' similarity, top subsets and texts, which only runs without truth have."""
    examples = sweep.tables["examples"]
    examples = examples[examples["testset"] == testset]
    if examples.empty:
        return
    for a, b, rho in sweep.similarities(testset):
        _print(out, f"Spearman over corpora of {a} and {b}: {rho:.2f}")
    for corpus, rows in sweep.top_subsets(testset).groupby("corpus", sort=False):
        listed = ", ".join(f"{row.subset} {row.influence:+.4f}" for row in rows.itertuples())
        _print(out, f"{corpus}: highest on {listed}")
    for label, rows in examples.groupby("label", sort=False):
        _print(out, f"Texts of the {rows['read'].iloc[0]} with the largest loss change ({label})")
        for row in rows.head(_EXAMPLES).itertuples():
            text = " ".join(str(row.text).split())
            text = text if len(text) <= _WIDE else f"{text[:_WIDE]}…"
            _print(out, f"  {row.change:+.3f} {row.corpus}: {text}")


def _print_agreement(sweep: Sweep, out: Console) -> None:
    """Print the correlation of each method with the truth on each test set, the best first."""
    rows = sweep.best_first.to_dict("records")
    shown = [name for name in sweep.statistics if name != "pearson_pooled"]
    lines = [
        {"test set": row["testset"], "method": row["label"]}
        | {name: _number(row[f"{name}_mean"], row[f"{name}_std"]) for name in shown}
        | {
            "95 % interval": f"[{_number(row['pearson_low'])}, {_number(row['pearson_high'])}]",
            "of attainable": "–" if pd.isna(row["relative"]) else f"{row['relative']:.0%}",
            "attainable": _number(row["attainable"]),
            "noise ceiling": _number(row["ceiling"]),
            "seconds": f"{row['wall_s']:,.{1 if row['wall_s'] < 100 else 0}f}",
        }
        for row in rows
    ]
    explained = f"correlation with the truth over {sweep.over}, mean over subsets"
    if spreads := [varied for varied in sweep.summary["varied"].unique() if varied]:
        explained += f" ± std over {' or '.join(spreads)}"
    explained += (
        f"; 95 % interval of pearson over {sweep.over} and subsets; attainable: pearson of a "
        "method without error with the mean of the truths; noise ceiling: pearson of truths of "
        "single train seeds"
    )
    _print(out, "Agreement with the truth", "bold")
    _print_table(out, pd.DataFrame(lines).set_index(["test set", "method"]))
    out.print(Text(f"{explained}\n", style="dim"))


def _number(mean: float, std: float = math.nan) -> str:
    spread = "" if math.isnan(std) else f" ± {std:.2f}"
    return "–" if math.isnan(mean) else f"{mean:.2f}{spread}"
