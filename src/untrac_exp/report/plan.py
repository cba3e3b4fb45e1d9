"""The plan of a job or a sweep on the terminal: every artifact once, what is there, what is to pay.

A plan is `untrac_exp.plan.Plan` as a dictionary.
"""

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from untrac_exp.progress import duration

DEVICES = (1, 8, 64)

LONG_S = 600
"""Seconds after which a run is called long."""


def flops(artifact: Mapping[str, Any], parameters: int | None) -> float | None:
    """2 N a token forward, 4 N a token backward; None where either is unknown."""
    if artifact["forward"] is None or parameters is None:
        return None
    return 2.0 * parameters * artifact["forward"] + 4.0 * parameters * artifact["backward"]


def print_plan(plans: Sequence[Mapping[str, Any]], title: str, shorter: str) -> None:
    """Print a table of all artifacts, those that jobs share once, their sum, and the downloads.

    shorter: what makes a run take less time, said of one over ten minutes.
    """
    console = Console(highlight=False, width=None if Console().is_terminal else 118)
    table = Table(title=f"plan of {title}: nothing is run, built or fetched", title_justify="left")
    for name in ("what", "name"):
        table.add_column(name, overflow="fold")
    for name in ("steps", "tokens read", "with gradient", "FLOPs", "hours", "disk", "there"):
        table.add_column(name, justify="right")
    seen: set[tuple[str, str]] = set()
    to_do: dict[str, float] = {"steps": 0, "forward": 0, "backward": 0, "flops": 0, "size": 0}
    unknown = []
    missing: list[tuple[Mapping[str, Any], float]] = []
    for plan in plans:
        about = "" if plan["exact"] else "~"
        rate, parameters = plan["flops_per_s"], plan["parameters"]
        for artifact in plan["artifacts"]:
            if (artifact["kind"], artifact["id"]) in seen:
                continue
            seen.add((artifact["kind"], artifact["id"]))
            cost = flops(artifact, parameters)
            if not artifact["there"]:
                if cost is None:
                    unknown.append(artifact["name"])
                for name in ("steps", "forward", "backward", "size"):
                    to_do[name] += artifact[name] or 0
                to_do["flops"] += cost or 0
                missing.append((artifact, (cost or 0) / rate))
            table.add_row(
                artifact["kind"],
                artifact["name"],
                _count(artifact["steps"]),
                about + _count(artifact["forward"]),
                about + _count(artifact["backward"]),
                "?" if cost is None else f"{about}{cost:.2g}",
                "?" if cost is None else f"{about}{cost / rate / 3600:.2g}",
                _bytes(artifact["size"]),
                {True: "yes", False: "no", None: "?"}[artifact["there"]],
            )
    table.add_section()
    table.add_row(
        "total",
        "of what is not there",
        _count(to_do["steps"]),
        _count(to_do["forward"]),
        _count(to_do["backward"]),
        f"{to_do['flops']:.2g}",
        f"{to_do['flops'] / rate / 3600:.2g}",
        _bytes(to_do["size"]),
    )
    console.print(table)
    size = "unknown size" if parameters is None else f"{parameters:,} parameters"
    how = "as measured here" if plans[-1]["measured"] else "plan_flops_per_s"
    console.print(f"model of {size}; hours of one device at {rate:.2g} FLOP/s ({how})")
    if to_do["flops"] / rate > LONG_S:
        console.print(f"[yellow]over ten minutes:[/] {shorter}", soft_wrap=True)
    if missing:
        console.print(spread(missing), soft_wrap=True)
    fetched = {key: what for plan in plans for key, what in plan["downloads"].items()}
    if fetched:
        console.print("to be fetched, as far as no cache holds it:")
        for key, what in fetched.items():
            console.print(f"  {key}: {what}", soft_wrap=True)
        console.print("~ reckoned from the configuration; exact once the data are there")
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
            id_ = artifact["id"].partition(" ")[2] or artifact["id"]
            models[id_] = models.get(id_, 0) + seconds
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


def _count(number: float | None) -> str:
    return "?" if number is None else f"{int(number):,}"


def _bytes(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
