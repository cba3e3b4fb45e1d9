"""Live display of a ranking being refined: a table in a terminal, otherwise one line per round."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from untrac_exp.methods.base import Influences
from untrac_exp.methods.common.anytime import Board, Done, Round
from untrac_exp.runtime.progress import duration
from untrac_exp.statistics.ranking import rank

log = logging.getLogger(__name__)

_TESTSETS = 4
"""Number of test sets shown; the report has all."""


class Lines(Board):
    """Logs a line before and after every round."""

    def __init__(self, name: str, budget: float) -> None:
        self.name, self.budget = name, budget

    def on_round_start(self, one: Round, expected_s: float, left_s: float) -> None:
        log.info(
            "%s: reads %s (about %s; %s left)",
            self.name, one.reads, duration(expected_s), duration(max(0.0, left_s)),
        )  # fmt: skip

    def on_round_end(self, done: Sequence[Done], next_s: float | None, left_s: float) -> None:
        last = done[-1]
        log.info(
            "%s: round %d took %s; %s", self.name, len(done), duration(last.seconds), _next(next_s)
        )
        for testset, rows in _rankings(last.answer):
            said = ", ".join(f"{row.corpus} {_cell(row)}" for row in rows.itertuples())
            log.info("  %s: %s", testset, said)


class InPlace(Board):
    """Shows one table, redrawn after every round."""

    def __init__(self, name: str, budget: float, live: Live) -> None:
        self.name, self.budget, self.live = name, budget, live
        self.table: Table | Text = Text("")

    def on_round_start(self, one: Round, expected_s: float, left_s: float) -> None:
        at = time.strftime("%H:%M:%S", time.localtime(time.time() + expected_s))
        said = f"{self.name} reads {one.reads}: until about {at}; Ctrl-C keeps the current ranking"
        self.live.update(Group(self.table, Text(said, style="dim")), refresh=True)

    def on_round_end(self, done: Sequence[Done], next_s: float | None, left_s: float) -> None:
        last = done[-1]
        title = f"{self.name}, round {len(done)} ({duration(last.seconds)}): {last.round.reads}"
        self.table = _table(title, last.answer)
        self.live.update(Group(self.table, Text(_next(next_s), style="dim")), refresh=True)


@contextmanager
def board(name: str, budget: float, console: Console | None = None) -> Iterator[Board]:
    """Yield the board for this process's output: a table in a terminal, otherwise log lines.

    Args:
        name: of the method.
        budget: in seconds.
        console: to draw on; stdout by default.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        yield Lines(name, budget)
        return
    outer = sys.stdout
    with Live(console=console, auto_refresh=False, transient=True) as live:
        # log lines go above the table
        handlers = [one for one in logging.root.handlers if getattr(one, "stream", None) is outer]
        for handler in handlers:
            handler.stream = sys.stdout  # type: ignore[attr-defined]
        try:
            yield InPlace(name, budget, live)
        finally:
            for handler in handlers:
                handler.stream = outer  # type: ignore[attr-defined]


def _rankings(answer: Influences) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each test set with its ranked corpora, with intervals if the method has them."""
    if answer.changes:
        table = rank(answer.changes, answer.relative_error, answer.partial)
    else:
        table = answer.scores.groupby(["testset", "corpus"], sort=False).mean(numeric_only=True)
        table = table.reset_index().sort_values("influence", ascending=False)
        table = table.assign(ci_low=float("nan"), ci_high=float("nan"))
    for testset, rows in list(table.groupby("testset", sort=False))[:_TESTSETS]:
        yield str(testset), rows


def _table(title: str, answer: Influences) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("rank", justify="right")
    columns = []
    for testset, rows in _rankings(answer):
        table.add_column(Text(testset), overflow="fold")
        columns.append([f"{row.corpus} {_cell(row)}" for row in rows.itertuples()])
    for i, cells in enumerate(zip(*columns, strict=True)):
        table.add_row(str(i + 1), *map(Text, cells))
    return table


def _cell(row: object) -> str:
    influence, low, high = (getattr(row, name) for name in ("influence", "ci_low", "ci_high"))
    return f"{influence:+.4f}" if pd.isna(low) else f"{influence:+.4f} [{low:+.4f}, {high:+.4f}]"


def _next(next_s: float | None) -> str:
    return "no data left to read" if next_s is None else f"the next round takes {duration(next_s)}"
