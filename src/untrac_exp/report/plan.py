"""The plan of a job or a sweep on the terminal: every artifact once, what is there, what is to pay.

A plan is `untrac_exp.plan.Plan` as a dictionary.
"""

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from untrac_exp.methods.base import Tokens
from untrac_exp.progress import duration
from untrac_exp.rate import LONG_S, SHORTER, flops

DEVICES = (1, 8, 64)


def print_plan(plans: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print a table of all artifacts, those that jobs share once, their sum, and the downloads."""
    console = Console(highlight=False, width=None if Console().is_terminal else 118)
    table = Table(title=f"plan of {title}: nothing is run, built or fetched", title_justify="left")
    for name in ("what", "name"):
        table.add_column(name, overflow="fold")
    for name in ("steps", "tokens read", "with gradient", "FLOPs", "hours", "disk", "there"):
        table.add_column(name, justify="right")
    rate, parameters = plans[-1]["flops_per_s"], plans[-1]["parameters"]
    once: dict[tuple[str, str], tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for plan in plans:
        for one in plan["artifacts"]:
            once.setdefault((one["kind"], one["id"]), (one, plan))
    missing: list[tuple[Mapping[str, Any], float]] = []
    unknown, to_do = [], 0.0
    for one, plan in once.values():
        about, cost = "" if plan["exact"] else "~", None
        if one["forward"] is not None and plan["parameters"] is not None:
            cost = flops(Tokens(one["forward"], one["backward"]), plan["parameters"])
        seconds = (cost or 0) / plan["flops_per_s"]
        if not one["there"]:
            missing.append((one, seconds))
            to_do += cost or 0
            unknown += [one["name"]] * (cost is None)
        there = {True: "yes", False: "no", None: "?"}[one["there"]]
        table.add_row(one["kind"], one["name"], *_costs(one, cost, seconds, about), there)
    names = ("steps", "forward", "backward", "size")
    total = {name: sum(one[name] or 0 for one, _ in missing) for name in names}
    seconds = sum(one for _, one in missing)
    table.add_section()
    table.add_row("total", "of what is not there", *_costs(total, to_do, seconds))
    console.print(table)
    size = "unknown size" if parameters is None else f"{parameters:,} parameters"
    how = "as measured here" if plans[-1]["measured"] else "plan_flops_per_s"
    console.print(f"model of {size}; hours of one device at {rate:.2g} FLOP/s ({how})")
    if seconds > LONG_S:
        console.print(f"[yellow]over ten minutes:[/] {SHORTER}", soft_wrap=True)
    if missing:
        console.print(spread(missing), soft_wrap=True)
    fetched = {key: what for plan in plans for key, what in plan["downloads"].items()}
    if fetched:
        console.print("to be fetched, as far as no cache holds it:")
        for key, what in fetched.items():
            console.print(f"  {key}: {what}", soft_wrap=True)
        console.print("~ estimated from the configuration; exact once the data are downloaded")
    if unknown:
        console.print(f"? not counted, the method does not say: {', '.join(unknown)}")


def spread(missing: Sequence[tuple[Mapping[str, Any], float]]) -> str:
    """How many devices what is missing can use, and how long it takes on 1, 8 and 64.

    missing: artifacts, and the seconds that one device takes for each. Models are trained first, a
    device each, with their losses on the same one; then the parts of the methods' scores, for which
    a job needs the whole truth. Every device works, as when a sweep has as many jobs at a time.
    """
    models: dict[str, float] = {}
    parts: list[float] = []
    for artifact, seconds in missing:
        if artifact["kind"] in ("model", "losses"):
            models[artifact["id"]] = models.get(artifact["id"], 0) + seconds
        elif artifact["kind"] == "scores":
            parts += [seconds / artifact["parts"]] * artifact["parts"]
    trained = [*models.values()]
    times = [f"{duration(_makespan(trained, n) + _makespan(parts, n))} on {n}" for n in DEVICES]
    return (
        f"can use {len(trained)} devices for models, then {len(parts)} for methods: "
        f"about {', '.join(times)} (trainer.workers, hydra/launcher; see docs/cluster.md)"
    )


def _makespan(seconds: Sequence[float], devices: int) -> float:
    """How long so many devices take for pieces of work that come longest first."""
    busy = [0.0] * devices
    for one in sorted(seconds, reverse=True):
        heapq.heappush(busy, heapq.heappop(busy) + one)
    return max(busy)


def _costs(
    one: Mapping[str, Any], cost: float | None, seconds: float, about: str = ""
) -> list[str]:
    """Steps, tokens, FLOPs, hours and disk as they are shown; "?" for what is not known."""
    tokens = ["?" if n is None else f"{about}{n:,}" for n in (one["forward"], one["backward"])]
    each = ("?", "?") if cost is None else (f"{about}{cost:.2g}", f"{about}{seconds / 3600:.2g}")
    return [f"{one['steps']:,}", *tokens, *each, _bytes(one["size"])]


def _bytes(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
