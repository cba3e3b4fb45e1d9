"""Terminal summary: rankings, agreement with the truth, and warnings."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from untrac_exp.report.answer import answer, print_answer
from untrac_exp.report.collect import Sweep, collect, labelled, short_variants
from untrac_exp.report.tables import number_format, ranking, summarise


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
    # soft_wrap keeps the path on one logical line, to be clicked or copied.
    out.print(Text("Report: ", style="bold").append(str(page), style="cyan"), soft_wrap=True)


def print_tables(sweep: Sweep, out: Console | None = None) -> None:
    """Print the corpus ranking of every test set, the agreement and the warnings."""
    out = out or console()
    out.print()
    if sweep.invented:
        out.print(Text(sweep.invented, style="italic"), soft_wrap=True)
        out.print()
    found = answer(sweep)
    said: set[str] = set()
    if found is not None:
        print_answer(found, out)
        said = {warning for question in found["questions"] for warning in question["said"]}
    if found is None or not found["complete"]:
        for testset in sweep.testsets:
            _print_ranking(ranking(sweep, testset), testset, out)
    if len(sweep.truth):
        _print_agreement(sweep, out)
    if warnings := [warning for warning in sweep.warnings if warning not in said]:
        for warning in warnings:
            out.print(Text("warning: ", style="yellow").append(warning), soft_wrap=True)
        out.print()


def _print_ranking(rows: pd.DataFrame, testset: str, out: Console) -> None:
    corpora = list(rows["corpus"].unique())
    room = out.width - max(map(cell_len, corpora)) - 4
    columns = _ranking_columns(rows, corpora, with_interval=True)
    has_interval = sum(map(_width, columns)) <= room
    if not has_interval:
        columns = _ranking_columns(rows, corpora, with_interval=False)
    out.print(Text(f"Which corpus helps the model say {testset}?", style="bold"))
    # Print as many methods side by side as fit, the others below.
    blocks: list[list[list[Text]]] = [[]]
    for column in columns:
        if blocks[-1] and sum(map(_width, [*blocks[-1], column])) > room:
            blocks.append([])
        blocks[-1].append(column)
    for block in blocks:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        table.add_column("corpus", overflow="fold")
        for heading, *_ in block:
            table.add_column(heading, justify="right", overflow="fold")
        for corpus, *cells in zip(corpora, *(column[1:] for column in block), strict=True):
            table.add_row(Text(corpus), *cells)
        out.print(table)
    explained = "influence: how much the loss rises without the corpus (rank)"
    if has_interval and rows["ci_low"].notna().any():
        explained += ", [95 % interval over test examples]"
    out.print(Text(explained, style="dim"))
    out.print()


def _ranking_columns(
    rows: pd.DataFrame, corpora: list[str], with_interval: bool
) -> list[list[Text]]:
    """Return each method's column, starting with its heading."""
    columns = []
    for label, part in rows.groupby("label", sort=False):
        form = number_format(part["influence"])
        cells = {row["corpus"]: row for row in part.to_dict("records")}
        columns.append([Text(str(label))])
        for corpus in corpora:
            known = corpus in cells
            columns[-1].append(
                _influence(cells[corpus], form, with_interval) if known else Text("–")
            )
    return columns


def _width(column: list[Text]) -> int:
    return max(text.cell_len for text in column) + 2


def _influence(cell: dict[Any, Any], form: str, with_interval: bool) -> Text:
    if not math.isfinite(cell["influence"]):
        return Text("undefined", style="red")
    first = cell["rank"] == 1
    text = Text(f"{cell['influence']:{form}}", style="bold" if first else "")
    if with_interval and math.isfinite(cell["ci_low"]):
        text.append(f" [{cell['ci_low']:{form}}, {cell['ci_high']:{form}}]", style="dim")
    return text.append(f" ({cell['rank']:.0f})", style="bold green" if first else "dim")


def _print_agreement(sweep: Sweep, out: Console) -> None:
    summary = summarise(sweep)
    testsets = [t for t in sweep.testsets if t in set(summary["testset"])]
    shown = [name for name in sweep.statistics if f"{name}_mean" in summary]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("method", overflow="fold")
    for name in (*testsets, "seconds"):
        table.add_column(name, justify="right")
    for _, rows in summary.groupby(["method", "variant"]):
        of_testset = {row["testset"]: row for row in rows.to_dict("records")}
        cells = [_agreement(of_testset.get(testset), shown) for testset in testsets]
        table.add_row(rows["label"].iloc[0], *cells, _seconds(rows["wall_s"].iloc[0]))
    table.add_section()
    for label, line in _ceilings(summary, testsets):
        table.add_row(label, *line, "", style="italic")
    names = " / ".join({"pearson": "Pearson", "spearman": "Spearman"}.get(n, n) for n in shown)
    explained = f"{names} over {sweep.over}, mean over subsets"
    spreads = [varied for varied in summary["varied"].unique() if varied]
    if spreads:
        explained += f" ± std over {' or '.join(spreads)}"
    explained += (
        f"; second line: 95 % interval of Pearson over {sweep.over} and subsets, and Pearson as a "
        "share of the attainable ceiling, which a method without error would reach with the mean "
        "of the truths; noise ceiling: Pearson of truths of single train seeds"
    )
    out.print(Text("Agreement with the truth", style="bold"))
    out.print(table)
    out.print(Text(explained, style="dim"))
    out.print()


def _ceilings(summary: pd.DataFrame, testsets: list[str]) -> list[tuple[str, list[str]]]:
    """Return both ceilings of every test set, per variant if they differ between variants."""
    truths = summary.drop_duplicates(["variant", "testset"])
    short = short_variants(truths["variant"].unique())
    rows = []
    for column, name in (("attainable", "attainable ceiling"), ("ceiling", "noise ceiling")):
        lines = truths.pivot(index="variant", columns="testset", values=column)[testsets]
        lines = lines.map(_number)
        if len(lines.drop_duplicates()) == 1:
            rows.append((name, list(lines.iloc[0])))
        else:
            rows += [(labelled(name, short[str(v)]), list(line)) for v, line in lines.iterrows()]
    return rows


def _agreement(row: dict[Any, Any] | None, statistics: list[str]) -> str:
    if row is None:
        return "–"
    above = []
    for name in statistics:
        std = row[f"{name}_std"]
        above.append(_number(row[f"{name}_mean"]) + (f" ± {std:.2f}" if pd.notna(std) else ""))
    below = []
    if pd.notna(row["pearson_low"]):
        below.append(f"[{_number(row['pearson_low'])}, {_number(row['pearson_high'])}]")
    if pd.notna(row["relative"]):
        below.append(f"{row['relative']:.0%}")
    return f"{' / '.join(above)}\n{' '.join(below)}".strip()


def _seconds(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _number(value: float | None) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"
