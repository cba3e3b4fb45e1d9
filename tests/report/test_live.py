"""What is shown between the rounds of a budget."""

import io
import logging
import sys
from typing import Any

import pandas as pd
from rich.console import Console

from untrac_exp.methods.base import Influences
from untrac_exp.methods.common.anytime import Done, Round
from untrac_exp.report.live import board

NOT_READ: Any = None
ROUND = Round(NOT_READ, NOT_READ, 512, 64, False, {}, 1.0, 1.0, "about 512 tokens of each corpus")


def done(first):
    rows = [
        {"corpus": name, "testset": "bad", "subset": "all", "influence": value,
         "ci_low": value - 1, "ci_high": value + 1}
        for name, value in {"wiki": 0.5, "forum": first}.items()
    ]  # fmt: skip
    return Done(ROUND, Influences(pd.DataFrame(rows)), 3.2)


def shown(terminal, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    handler = logging.StreamHandler(out)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    with board("NGram", 300, Console(file=out, force_terminal=terminal, width=100)) as told:
        told.on_round_start(ROUND, 3, 200)
        logging.getLogger("a").info("a line of the log")
        told.on_round_end([done(0.2)], 7.0, 190)
        told.on_round_end([done(0.2), done(0.9)], None, 180)
    assert handler.stream is out
    return out.getvalue()


def test_lines_where_there_is_no_terminal(monkeypatch):
    assert shown(False, monkeypatch).splitlines() == [
        "NGram: reads about 512 tokens of each corpus (about 3 s; 3 min left)",
        "a line of the log",
        "NGram: round 1 took 3 s; the next round takes 7 s",
        "  bad: wiki +0.5000 [-0.5000, +1.5000], forum +0.2000 [-0.8000, +1.2000]",
        "NGram: round 2 took 3 s; no data left to read",
        "  bad: forum +0.9000 [-0.1000, +1.9000], wiki +0.5000 [-0.5000, +1.5000]",
    ]


def test_one_table_in_a_terminal(monkeypatch):
    text = shown(True, monkeypatch)
    assert "a line of the log\n" in text
    last = text[text.rindex("round 2") :]
    assert last.index("forum +0.9000 [-0.1000, +1.9000]") < last.index("wiki +0.5000")
    assert "no data left to read" in last
    assert "\x1b[1A" in text  # it went up to draw again
