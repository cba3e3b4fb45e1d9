"""Print the plan of a job or sweep: every artifact once, what exists, and the remaining cost."""

import heapq
from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from untrac_exp.methods.base import Tokens
from untrac_exp.methods.common.rate import LONG_S, SHORTER, flops
from untrac_exp.runtime.progress import duration

DEVICES = (1, 8, 64)


def print_plan(plans: list[dict[str, Any]], title: str) -> None:
    """Print a table of the artifacts of all jobs, their total, and the downloads.

    plans: of each job, from `untrac_exp.report.plan_jobs`.
    """
    console = Console(highlight=False, width=None if Console().is_terminal else 118)
    work = pd.json_normalize(plans, "artifacts", ["exact", "parameters", "flops_per_s"])
    work = work.drop_duplicates(["kind", "id"])
    known = work[["forward", "backward", "parameters"]].astype(float)  # NaN if unknown
    work["flops"] = [flops(Tokens(read, back), n) for read, back, n in known.to_numpy()]
    work["seconds"] = work["flops"] / work["flops_per_s"].astype(float)
    missing = work[work["there"].ne(True)]
    total = missing[["steps", "forward", "backward", "flops", "seconds", "size"]].sum()

    table = Table(title=f"plan of {title}: nothing is run, built or fetched", title_justify="left")
    for name in ("what", "name"):
        table.add_column(name, overflow="fold")
    for name in ("steps", "tokens read", "with gradient", "FLOPs", "hours", "disk", "there"):
        table.add_column(name, justify="right")
    for one in work.to_dict("records"):
        there = {True: "yes", False: "no"}.get(one["there"], "?")
        table.add_row(one["kind"], one["name"], *_cells(one, "" if one["exact"] else "~"), there)
    table.add_section()
    table.add_row("total", "of what is not there", *_cells(total))
    console.print(table)

    last = plans[-1]
    n, rate = last["parameters"], last["flops_per_s"]
    size = "unknown size" if n is None else f"{n:,} parameters"
    how = "as measured here" if last["measured"] else "plan_flops_per_s"
    console.print(f"model of {size}; hours of one device at {rate:.2g} FLOP/s ({how})")
    if total["seconds"] > LONG_S:
        console.print(f"[yellow]over ten minutes:[/] {SHORTER}", soft_wrap=True)
    if len(missing):
        console.print(spread(missing), soft_wrap=True)
    if fetched := {key: what for plan in plans for key, what in plan["downloads"].items()}:
        console.print("to be fetched, as far as no cache holds it:")
        for key, what in fetched.items():
            console.print(f"  {key}: {what}", soft_wrap=True)
        console.print("~ estimated from the configuration; exact once the data are downloaded")
    if unknown := ", ".join(missing.loc[missing["flops"].isna(), "name"]):
        console.print(f"? not counted, the method does not say: {unknown}")


def spread(missing: pd.DataFrame) -> str:
    """Describe how many devices a sweep can use, and how long it takes on 1, 8 and 64.

    Models are trained first, each with its losses on one device. The parts of the methods' scores
    follow, since a job needs the whole truth.

    Args:
        missing: columns kind, id, parts and seconds (on one device) of artifacts.
    """
    trained = missing[missing["kind"].isin(["model", "losses"])].groupby("id")["seconds"].sum()
    scores = missing[missing["kind"] == "scores"]
    parts = (scores["seconds"].fillna(0) / scores["parts"]).repeat(scores["parts"].tolist())
    times = [f"{duration(_makespan(trained, n) + _makespan(parts, n))} on {n}" for n in DEVICES]
    return (
        f"can use {len(trained)} devices for models, then {len(parts)} for methods: "
        f"about {', '.join(times)} (parallel, hydra/launcher; see docs/cluster.md)"
    )


def _makespan(seconds: Iterable[float], devices: int) -> float:
    """Return the time that `devices` take for pieces of work, the longest first."""
    busy = [0.0] * devices
    for one in sorted(seconds, reverse=True):
        heapq.heappush(busy, heapq.heappop(busy) + one)
    return max(busy)


def _cells(one: Any, about: str = "") -> list[str]:
    """Format steps, tokens, FLOPs, hours and disk; "?" if unknown."""
    tokens = [(one["forward"], "{:,.0f}"), (one["backward"], "{:,.0f}")]
    costs = [*tokens, (one["flops"], "{:.2g}"), (one["seconds"] / 3600, "{:.2g}")]
    known = ["?" if pd.isna(cost) else about + form.format(cost) for cost, form in costs]
    return [f"{one['steps']:,.0f}", *known, decimal(int(one["size"]))]
