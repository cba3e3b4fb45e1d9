"""List, watch and prune a store: `python -m untrac_exp.store ls`, `... watch` and `... gc`."""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from untrac_exp.runtime.progress import duration, parse_duration
from untrac_exp.store import damage, remove
from untrac_exp.store.artifact import read_manifest
from untrac_exp.store.lock import short_name, try_lock
from untrac_exp.store.watch import watch


@dataclass(frozen=True)
class Entry:
    """One folder of a store: an artifact, or the partial folder of a build."""

    folder: Path
    state: str  # complete, damaged, partial, building
    about: str  # the damage, or else the key
    size: int  # bytes
    created: float  # seconds since the epoch
    used: float  # seconds since the epoch

    @property
    def artifact(self) -> Path:
        return self.folder.with_suffix("")  # without .partial

    @property
    def ago(self) -> str:
        return f"{duration(max(0.0, time.time() - self.used))} ago"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status, 1 on failure."""
    args = _parser().parse_args(argv)
    if not args.root.is_dir():
        print(f"error: there is no store at {args.root}: name its folder with --root")
        return 1
    try:
        return int(args.run(args))
    except OSError as err:
        print(f"error: the store {args.root} cannot be used ({err.strerror}: {err.filename})")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m untrac_exp.store", description=__doc__)
    commands = parser.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--root", type=Path, default=Path("outputs/store"), help="(%(default)s)")
    shared.add_argument("--kind", help="only artifacts of this kind")

    ls = commands.add_parser("ls", parents=[shared], help="list what the store holds")
    ls.add_argument("--verify", action="store_true", help="verify every checksum")
    ls.set_defaults(run=_ls)

    about = "show running builds, their processes and the time left"
    live = commands.add_parser("watch", parents=[shared], help=about)
    live.add_argument("--every", type=float, default=2.0, metavar="S", help="seconds (%(default)s)")
    live.add_argument("--once", action="store_true", help="print once and exit")
    live.set_defaults(run=_watch)

    about = "remove artifacts, which are rebuilt when needed"
    gc = commands.add_parser("gc", parents=[shared], help=about)
    gc.description = "Remove artifacts that match all given filters (--partial and --damaged "
    gc.description += "together match either). Running builds are kept."
    gc.add_argument("--older-than", type=_age, metavar="30d", help="unused for 30d, 12h or 90min")
    gc.add_argument("--partial", action="store_true", help="left by interrupted builds")
    gc.add_argument("--damaged", action="store_true", help="with a wrong checksum")
    gc.add_argument("--dry-run", action="store_true", help="print what would be removed")
    gc.set_defaults(run=_gc, parser=gc)
    return parser


def _age(text: str) -> float:
    try:
        return parse_duration("--older-than", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _ls(args: argparse.Namespace) -> int:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("kind", "hash", "size", "created", "last used", "state"):
        table.add_column(column, no_wrap=True, justify="right" if column == "size" else "left")
    table.add_column("what", no_wrap=True, overflow="ellipsis")
    total = count = 0
    for entry in _entries(args.root, args.kind, verify=args.verify):
        count, total = count + 1, total + entry.size
        created = f"{datetime.fromtimestamp(entry.created):%Y-%m-%d}"
        names = entry.folder.parent.name, entry.artifact.name
        rest = created, entry.ago, entry.state, entry.about
        table.add_row(*names, decimal(entry.size), *rest)
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(f"{count} in {args.root}, {decimal(total)}")
    return 0


def _watch(args: argparse.Namespace) -> int:
    with suppress(KeyboardInterrupt):
        watch(args.root.absolute(), args.kind, args.every, args.once)
    return 0


def _gc(args: argparse.Namespace) -> int:
    if not (args.older_than or args.kind or args.partial or args.damaged):
        args.parser.error("give at least one filter: --older-than, --kind, --partial, --damaged")
    states = {"partial": args.partial, "damaged": args.damaged}
    wanted = {state for state, asked in states.items() if asked}
    verb = "would remove" if args.dry_run else "removed"
    count = total = 0
    for entry in _entries(args.root, args.kind, verify=args.damaged):
        if args.older_than and entry.used > time.time() - args.older_than:
            continue
        if entry.state != "building" and wanted and entry.state not in wanted:
            continue
        about = (
            f"{short_name(entry.folder)} ({entry.state}, {decimal(entry.size)}, used {entry.ago})"
        )
        if entry.state == "building" or not (args.dry_run or _removed(entry)):
            print(f"skipped {about}: another process has it")
            continue
        print(f"{verb} {about}")
        count, total = count + 1, total + entry.size
    print(f"{verb} {count} in {args.root}, {decimal(total)}")
    return 0


def _removed(entry: Entry) -> bool:
    """Remove an entry and return True, or return False if another process holds its lock."""
    if (lock := try_lock(entry.artifact)) is None:
        return False
    try:
        remove(entry.folder)
    finally:
        lock.release()
    return True


def _entries(root: Path, kind: str | None, *, verify: bool) -> Iterator[Entry]:
    for folder in sorted(root.absolute().glob(f"{kind or '*'}/*")):
        if folder.is_dir():
            yield _entry(folder, verify=verify)


def _entry(folder: Path, *, verify: bool) -> Entry:
    sizes, times = [0], [folder.stat().st_mtime]
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a build may be running
            stat = file.stat()
            sizes.append(0 if file.is_dir() else stat.st_size)
            times.append(stat.st_mtime)
    manifest, fault = {}, None
    if folder.suffix:  # .partial, or .old during a forced rebuild
        state = "building" if _held(folder.with_suffix("")) else "partial"
    elif fault := damage(folder, quick=not verify):
        state = "damaged"
    else:
        state = "complete"
        manifest = read_manifest(folder)
    about = fault or _flat(manifest.get("key", {}))
    return Entry(folder, state, about, sum(sizes), created=min(times), used=max(times))


def _held(artifact: Path) -> bool:
    if not artifact.with_name(f"{artifact.name}.lock").exists():
        return False
    if (lock := try_lock(artifact)) is not None:
        lock.release()
    return lock is None


def _flat(key: Mapping[str, Any], prefix: str = "") -> str:
    parts = []
    for name, value in key.items():
        nested = isinstance(value, Mapping)
        parts.append(_flat(value, f"{prefix}{name}.") if nested else f"{prefix}{name}={value}")
    return " ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
