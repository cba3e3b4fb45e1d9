"""Log lines of the rounds within a time budget."""

import logging

import pandas as pd

from untrac_exp.methods.common.budget import Round
from untrac_exp.runtime.progress import duration
from untrac_exp.statistics.ranking import rank

log = logging.getLogger(__name__)

_TESTSETS = 4
"""Number of test sets shown; the report has all."""


def log_round(method: str, attributed: Round) -> None:
    """Log a round and its ranking, a line per test set, with intervals if the method has them."""
    influences, last = attributed.influences, attributed.rounds[-1]
    following = "; a larger one follows, Ctrl-C keeps this ranking"
    log.info(
        "%s: round %d, about %s tokens of each corpus and test subset, took %s%s",
        method, len(attributed.rounds), f"{last['tokens']:,}", duration(last["seconds"]),
        "" if attributed.is_last else following,
    )  # fmt: skip
    if influences.changes:
        table = rank(influences.changes, influences.relative_error, influences.partial)
    else:
        cells = influences.scores.groupby(["testset", "corpus"], sort=False)["influence"]
        table = cells.mean().reset_index().sort_values("influence", ascending=False)
        table = table.assign(ci_low=float("nan"), ci_high=float("nan"))
    for testset, rows in list(table.groupby("testset", sort=False))[:_TESTSETS]:
        log.info("  %s: %s", testset, ", ".join(map(_text, rows.to_dict("records"))))


def _text(row: dict) -> str:
    text = f"{row['corpus']} {row['influence']:+.4f}"
    return (
        text if pd.isna(row["ci_low"]) else f"{text} [{row['ci_low']:+.4f}, {row['ci_high']:+.4f}]"
    )
