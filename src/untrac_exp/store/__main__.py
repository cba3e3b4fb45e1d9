"""List a store and remove from it: `python -m untrac_exp.store ls` and `... gc`."""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from filelock import Timeout
from rich.filesize import decimal

from untrac_exp.runtime.progress import duration, parse_duration
from untrac_exp.store.artifact import (
    MARK,
    damage,
    is_artifact,
    is_locked,
    lock_of,
    read_manifest,
    remove,
    short_name,
)


class Entry(NamedTuple):
    """One folder of a store: an artifact, or the partial folder of a build.

    state: complete, damaged, partial or building. about: the damage, or else the key. size: in
    bytes. used: in seconds since the epoch.
    """

    folder: Path
    state: str
    about: str
    size: int
    used: float

    def __str__(self) -> str:
        ago = duration(max(0.0, time.time() - self.used))
        return f"{short_name(self.folder)} ({self.state}, {decimal(self.size)}, used {ago} ago)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status, 1 on failure."""
    parser = argparse.ArgumentParser(prog="python -m untrac_exp.store", description=__doc__)
    parser.add_argument("command", choices=["ls", "gc"], help="list, or remove what fits all of:")
    parser.add_argument("--root", type=Path, default=Path("outputs/store"), help="(%(default)s)")
    parser.add_argument("--kind", default="*", help="of this kind, such as model")
    parser.add_argument("--older-than", type=_age, metavar="30d", help="unused for 30d, 12h, 90min")
    parser.add_argument("--partial", action="store_true", help="left by interrupted builds")
    parser.add_argument("--damaged", action="store_true", help="with a wrong checksum")
    parser.add_argument("--dry-run", action="store_true", help="gc: print what would be removed")
    args = parser.parse_args(argv)
    states = [state for state in ("partial", "damaged") if getattr(args, state)]
    if args.command == "gc" and not (args.older_than or states or args.kind != "*"):
        parser.error("give at least one of --older-than, --kind, --partial, --damaged")
    if not (args.root / MARK).is_file():
        print(f"error: there is no store at {args.root} (no {MARK}): name its folder with --root")
        return 1
    try:
        entries = [
            entry
            for entry in _entries(args.root, args.kind, args.damaged)
            if entry.used <= time.time() - (args.older_than or 0)
            and (not states or entry.state in (*states, "building"))
        ]
        if args.command == "ls":
            for entry in entries:
                print(entry, entry.about[:100])
        else:
            entries = [entry for entry in entries if _remove(entry, args.dry_run)]
    except OSError as error:
        print(f"error: the store {args.root} cannot be used ({error.strerror}: {error.filename})")
        return 1
    size = decimal(sum(entry.size for entry in entries))
    verb = {"ls": "", "gc": "would remove " if args.dry_run else "removed "}[args.command]
    print(f"{verb}{len(entries)} in {args.root}, {size}")
    return 0


def _age(text: str) -> float:
    try:
        return parse_duration("--older-than", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _remove(entry: Entry, dry_run: bool) -> bool:
    """Remove an entry and return True; False if another process holds its lock."""
    try:
        with lock_of(entry.folder.with_suffix("")).acquire(timeout=0):
            print(f"{'would remove' if dry_run else 'removed'} {entry}")
            if not dry_run:
                remove(entry.folder)
    except Timeout:
        print(f"skipped {entry}: another process has it")
        return False
    return True


def _entries(root: Path, kind: str, verify: bool) -> Iterator[Entry]:
    for folder in sorted(root.absolute().glob("*/*/")):
        if not (fnmatch(folder.parent.name, kind) and is_artifact(folder)):
            continue
        sizes, times, key = [0], [folder.stat().st_mtime], {}
        for file in folder.rglob("*"):
            with suppress(FileNotFoundError):  # a build may be running
                stat = file.stat()
                sizes.append(0 if file.is_dir() else stat.st_size)
                times.append(stat.st_mtime)
        fault = None
        if folder.suffix == ".partial":
            state = "building" if is_locked(folder.with_suffix("")) else "partial"
        elif fault := damage(folder, quick=not verify):
            state = "damaged"
        else:
            state, key = "complete", read_manifest(folder)["key"]
        yield Entry(folder, state, fault or _flat(key), sum(sizes), max(times))


def _flat(key: Mapping[str, Any], prefix: str = "") -> str:
    """Format a nested mapping as "a.b=1 a.c=2"."""
    return " ".join(
        _flat(value, f"{prefix}{name}.")
        if isinstance(value, Mapping)
        else f"{prefix}{name}={value}"
        for name, value in key.items()
    )


if __name__ == "__main__":
    sys.exit(main())
