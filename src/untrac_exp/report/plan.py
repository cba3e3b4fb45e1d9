"""The plan of a job or a sweep on the terminal: every artifact once, what is there, what is to pay.

A plan is `untrac_exp.plan.Plan` as a dictionary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

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
    fetched = {key: what for plan in plans for key, what in plan["downloads"].items()}
    if fetched:
        console.print("to be fetched, as far as no cache holds it:")
        for key, what in fetched.items():
            console.print(f"  {key}: {what}", soft_wrap=True)
        console.print("~ reckoned from the configuration; exact once the data are there")
    if unknown:
        console.print(f"? not counted, the method does not say: {', '.join(unknown)}")


def _count(number: float | None) -> str:
    return "?" if number is None else f"{int(number):,}"


def _bytes(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
