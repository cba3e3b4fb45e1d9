"""Display of running builds for `python -m untrac_exp.store watch`.

It reads only files of the store, so it works on any node: the claims of running builds (see
`store.lock`) and the manifests of complete artifacts. It locks and writes nothing.
"""

import socket
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from untrac_exp.runtime.progress import duration
from untrac_exp.store.artifact import MANIFEST, read_manifest
from untrac_exp.store.lock import HEARTBEAT_S, LEASE_S, read_claim

_QUIET_S = 3 * HEARTBEAT_S
"""Seconds without a heartbeat after which a builder is shown as silent."""


class _Built(NamedTuple):
    """A complete artifact; created: in seconds since the epoch."""

    kind: str
    method: str
    seconds: float
    created: float


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


def _running(root: Path, kind: str | None) -> list[tuple[Path, dict[str, Any], float]]:
    """Return (artifact, claim, seconds since its last heartbeat) of each build, oldest first."""
    found = []
    for file in root.glob(f"{kind or '*'}/*.claim"):
        claim, artifact = read_claim(file), file.with_suffix("")
        if not claim or "about" not in claim:
            continue  # just released or just created
        if artifact.is_dir() and not artifact.with_suffix(".partial").is_dir():
            continue  # claimed only to check it, or killed right after the build
        with suppress(FileNotFoundError):
            found.append((artifact, claim, max(0.0, time.time() - file.stat().st_mtime)))
    return sorted(found, key=lambda one: float(one[1]["since"]))


def _left(
    told: Mapping[str, Any] | None, told_before: float, for_s: float, like: Sequence[float]
) -> str:
    """Estimate the time left from the build's own progress, else from similar builds."""
    if told and told["left_s"] is not None:
        return duration(max(0.0, told["left_s"] - told_before))
    return duration(max(0.0, median(like) - for_s)) if like else "?"


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


def _update(root: Path, kind: str | None, seen: dict[Path, _Built]) -> None:
    """Add artifacts that were completed since the last call to `seen`."""
    for file in root.glob(f"{kind or '*'}/*/{MANIFEST}"):
        if file.parent in seen or file.parent.suffix:
            continue
        with suppress(OSError, ValueError, KeyError, TypeError):  # damaged, or of an old version
            manifest = read_manifest(file.parent)
            started, created = (
                datetime.fromisoformat(manifest[name]).timestamp()
                for name in ("started", "created")
            )
            method = manifest.get("method", "")
            seen[file.parent] = _Built(manifest["kind"], method, created - started, created)


def _shown(root: Path, kind: str | None, seen: dict[Path, _Built]) -> Group:
    _update(root, kind, seen)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("kind", "what", "by", "for", "left", "step"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    found = _running(root, kind)
    for artifact, claim, silent_s in found:
        of, about, told = artifact.parent.name, claim["about"], claim.get("progress")
        method = about.get("method", "")
        like = [
            one.seconds
            for one in seen.values()
            if one.kind == of and (of != "part" or one.method == method)
        ]
        for_s = max(0.0, time.time() - claim["since"])
        here = "" if claim["host"] == socket.gethostname() else f"{claim['host']} "
        silent = f" silent for {duration(silent_s)}" if silent_s > _QUIET_S else ""
        table.add_row(
            of,
            described(of, about.get("key", {}), method) or artifact.name,
            Text(f"{here}pid {claim['pid']}{silent}", style="red" if silent else ""),
            duration(for_s),
            _left(told, silent_s, for_s, like),
            f"{told['what']} {told['done']}/{told['total'] or '?'}" if told else "",
        )
    if not found:
        return Group(f"{root}: {_counts(seen.values())}", "nothing is being built")
    who = {(claim["host"], claim["pid"]) for _, claim, _ in found}
    lines = [
        f"{root}: {_counts(seen.values())}",
        f"{len(who)} processes at work on {len({host for host, _ in who})} machines",
    ]
    if any(silent_s > _QUIET_S for *_, silent_s in found):
        lines.append(
            f"a build silent for {duration(LEASE_S)} is taken over by a process that needs it"
        )
    return Group(*lines, table)


def _counts(done: Collection[_Built]) -> str:
    """Format counts of complete artifacts by kind."""
    kinds = Counter(one.kind for one in done)
    recent = sum(one.created > time.time() - 3600 for one in done)
    listed = ", ".join(f"{n} {name}" for name, n in sorted(kinds.items()))
    return f"{listed or 'nothing'} built, {recent} in the last hour"
