"""Display of running builds for `python -m untrac_exp.store watch`.

It reads only files of the store, so it works on any node: the claims of running builds (see
`store.lock`) and the manifests of complete artifacts. It locks and writes nothing.
"""

import json
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from untrac_exp.progress import duration
from untrac_exp.store.artifact import MANIFEST
from untrac_exp.store.lock import HEARTBEAT_S, LEASE_S, read_claim

_QUIET_S = 3 * HEARTBEAT_S
"""Seconds without a heartbeat after which a builder is shown as silent."""


@dataclass(frozen=True)
class Running:
    """A running build; times in seconds.

    Attributes:
        for_s: time since its start.
        left_s: estimated time left; None if unknown.
        step: progress reported by the build; may be empty.
        silent_s: time since the last heartbeat if it is overdue, else 0.
    """

    kind: str
    name: str
    about: str
    host: str
    pid: int
    for_s: float
    left_s: float | None
    step: str
    silent_s: float


def watch(root: Path, kind: str | None, every_s: float, once: bool) -> None:
    """Show the running builds once, or every `every_s` seconds until interrupted."""
    seen: dict[Path, _Built] = {}
    if once:
        Console(highlight=False, width=None if Console().is_terminal else 140).print(
            _shown(root, kind, seen)
        )
        return
    with Live(_shown(root, kind, seen), auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            live.update(_shown(root, kind, seen), refresh=True)


def running(root: Path, kind: str | None, done: Mapping[Path, "_Built"]) -> list[Running]:
    """Return the running builds, the oldest first. done: durations of complete builds."""
    found = []
    for file in root.glob(f"{kind or '*'}/*.claim"):
        claim = read_claim(file)
        if not claim or "about" not in claim:
            continue  # just released or just created
        about = claim["about"]
        key, method = about.get("key", {}), about.get("method", "")
        name = file.name.removesuffix(".claim")
        artifact = file.with_name(name)
        if artifact.is_dir() and not artifact.with_name(f"{name}.partial").is_dir():
            continue  # claimed only to check it, or killed right after the build
        for_s = max(0.0, time.time() - claim["since"])
        try:
            silent = max(0.0, time.time() - file.stat().st_mtime)
        except FileNotFoundError:
            continue
        told = claim.get("progress")
        found.append(
            Running(
                kind=file.parent.name,
                name=name,
                about=described(file.parent.name, key, method),
                host=claim["host"],
                pid=claim["pid"],
                for_s=for_s,
                left_s=_left(told, silent, for_s, _like(done.values(), file.parent.name, method)),
                step="" if not told else f"{told['what']} {told['done']}/{told['total'] or '?'}",
                silent_s=silent if silent > _QUIET_S else 0.0,
            )
        )
    return sorted(found, key=lambda one: -one.for_s)


def _left(
    told: Mapping[str, Any] | None, told_before: float, for_s: float, like: Sequence[float]
) -> float | None:
    """Estimate the seconds left from the build's own progress, else from similar builds."""
    if told and told["left_s"] is not None:
        return max(0.0, told["left_s"] - told_before)
    return max(0.0, median(like) - for_s) if like else None


def described(kind: str, key: Mapping[str, Any], method: str) -> str:
    """Describe an artifact by its key and the method that it is built for."""
    if kind == "model" and "train_seed" in key:
        without = key.get("without") or []
        name = f"without {', '.join(without)}" if without else "θ0"
        steps = (key.get("pretraining") or {}).get("steps")
        return f"{name}, train seed {key['train_seed']}" + (f", {steps} steps" if steps else "")
    if kind == "part":
        reads = ", ".join(f"{len(read)} {role}" for role, read in key.get("reads", {}).items())
        return f"{method}: {key.get('part')} ({reads})"
    if kind == "losses":
        return f"of model {str(key.get('model'))[:16]} on {len(key.get('subsets', []))} subsets"
    return str(key.get("name", ""))


@dataclass(frozen=True)
class _Built:
    kind: str
    method: str
    seconds: float
    created: float


def _like(done: Iterable[_Built], kind: str, method: str) -> list[float]:
    """Return the seconds of builds of a kind; of parts, those for the same method."""
    return [
        one.seconds for one in done if one.kind == kind and (kind != "part" or one.method == method)
    ]


def _update(root: Path, kind: str | None, seen: dict[Path, _Built]) -> None:
    """Add artifacts that were completed since the last call to `seen`."""
    for file in root.glob(f"{kind or '*'}/*/{MANIFEST}"):
        if file.parent in seen or file.parent.suffix:
            continue
        try:
            manifest = json.loads(file.read_bytes())
            started, created = (
                datetime.fromisoformat(manifest[name]).timestamp()
                for name in ("started", "created")
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged, or written by a version without `started`
        seen[file.parent] = _Built(
            manifest["kind"], manifest.get("method", ""), created - started, created
        )


def _shown(root: Path, kind: str | None, seen: dict[Path, _Built]) -> Group:
    _update(root, kind, seen)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("kind", "what", "by", "for", "left", "step"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    found = running(root, kind, seen)
    for one in found:
        here = "" if one.host == socket.gethostname() else f"{one.host} "
        silent = f" silent for {duration(one.silent_s)}" if one.silent_s else ""
        table.add_row(
            one.kind,
            one.about or one.name,
            Text(f"{here}pid {one.pid}{silent}", style="red" if silent else ""),
            duration(one.for_s),
            "?" if one.left_s is None else duration(one.left_s),
            one.step,
        )
    hosts = {one.host for one in found}
    who = {(one.host, one.pid) for one in found}
    lines = [f"{root}: {_counts(seen.values())}"]
    working = f"{len(who)} processes at work on {len(hosts)} machines"
    lines.append(working if found else "nothing is being built")
    if any(one.silent_s for one in found):
        lines.append(
            f"a build silent for {duration(LEASE_S)} is taken over by a process that needs it"
        )
    return Group(*lines, *([table] if found else []))


def _counts(done: Collection[_Built]) -> str:
    """Format counts of complete artifacts by kind."""
    kinds = Counter(one.kind for one in done)
    recent = sum(one.created > time.time() - 3600 for one in done)
    listed = ", ".join(f"{n} {name}" for name, n in sorted(kinds.items()))
    return f"{listed or 'nothing'} built, {recent} in the last hour"
