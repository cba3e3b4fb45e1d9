"""List a store, `python -m untrac_exp.store ls`, and prune it, `... gc --older-than 30d`.

Folders of interrupted builds are listed and removed like artifacts. A damaged artifact needs no
command: the next job that uses it builds it again.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import Timeout
from rich.filesize import decimal

from untrac_exp.runtime.progress import duration, parse_duration
from untrac_exp.store.artifact import (
    MARK,
    is_artifact,
    lock_of,
    read_manifest,
    remove,
    short_name,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status, 1 if there is no store."""
    parser = argparse.ArgumentParser(prog="python -m untrac_exp.store", description=__doc__)
    parser.add_argument("command", choices=["ls", "gc"], help="list, or remove")
    parser.add_argument("--root", type=Path, default=Path("outputs/store"), help="(%(default)s)")
    parser.add_argument("--older-than", metavar="30d", help="only what is unused for 30d, 12h, ...")
    args = parser.parse_args(argv)
    try:
        age_s = 0.0
        if args.older_than is not None or args.command == "gc":
            age_s = parse_duration("--older-than", args.older_than)
    except ValueError as error:
        parser.error(str(error))
    if not (args.root / MARK).is_file():
        print(f"error: there is no store at {args.root} (no {MARK}): name its folder with --root")
        return 1
    count = total = 0
    for folder in filter(is_artifact, sorted(args.root.absolute().glob("*/*/"))):
        size, used = _size_and_use(folder)
        unused_s = max(0.0, time.time() - used)
        if unused_s < age_s:
            continue
        line = f"{short_name(folder)} ({decimal(size)}, used {duration(unused_s)} ago)"
        if args.command == "gc":
            try:
                with lock_of(folder.with_suffix("")).acquire(timeout=0):
                    remove(folder)
            except Timeout:
                print(f"skipped {line}: another process has it")
                continue
        print(f"removed {line}" if args.command == "gc" else f"{line} {_about(folder)[:100]}")
        count, total = count + 1, total + size
    print(f"{'removed ' if args.command == 'gc' else ''}{count} in {args.root}, {decimal(total)}")
    return 0


def _size_and_use(folder: Path) -> tuple[int, float]:
    """Return the size of a folder in bytes, and when it was last used, in seconds since 1970."""
    size, used = 0, folder.stat().st_mtime
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a build may be running
            state = file.stat()
            size += 0 if file.is_dir() else state.st_size
            used = max(used, state.st_mtime)
    return size, used


def _about(folder: Path) -> str:
    """Return an artifact's key on one line."""
    try:
        return json.dumps(read_manifest(folder)["key"])
    except (OSError, ValueError, KeyError):
        return "unfinished"


if __name__ == "__main__":
    sys.exit(main())
