"""Content-addressed store of tokenizers, packed data, models, losses and parts of results.

An artifact is a folder `<root>/<kind>/<hash>/`. The hash covers the configuration, the data and the
code (see `store.code`) that determine it, so sweeps share artifacts and an interrupted run resumes.
One process at a time builds it, under a lock, in `<hash>.partial/`, which is renamed when complete.
`manifest.json` has a checksum of each file, which each process verifies once.
"""

import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from untrac_exp.runtime import processes
from untrac_exp.runtime.progress import listen
from untrac_exp.store.artifact import (
    MANIFEST,
    created,
    damage,
    finish_replacing,
    remove,
    seal,
    sync,
    trust,
)
from untrac_exp.store.key import fingerprint
from untrac_exp.store.lock import Lock, claim_file, short_name, try_lock

log = logging.getLogger(__name__)

__all__ = ["MANIFEST", "Force", "Store", "StoreError", "Wanted", "damage", "fingerprint", "remove"]

_USED = ".used"
"""Touched on every use of an artifact; its mtime is the time of last use."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

_PAUSES_S = (0.05, 5.0)
"""Shortest and longest polling interval; in between it is a twentieth of the time waited."""


class StoreError(ValueError):
    """The store cannot be read or written; the message is one line with a remedy."""


Force = bool | Literal["all"]
"""What is rebuilt: nothing (False), parts of methods' results (True), or everything ("all")."""


class Wanted(NamedTuple):
    """Request for one artifact; kind, key and build as in `Store.get`.

    needs: artifacts that `build` reads, which are built first. group: artifacts of a group share
    intermediate results, so one process builds all of them.
    """

    kind: str
    key: Mapping[str, Any]
    build: Callable[[Path], None]
    needs: Sequence["Wanted"] = ()
    group: Hashable = None


class _Item(NamedTuple):
    """Path of a requested artifact, and the artifacts that it needs."""

    path: Path
    wanted: Wanted
    needs: list["_Item"]


class Store:
    """The artifacts under one folder, which is created by the first build.

    force: what to rebuild. since: only artifacts older than this are rebuilt, in seconds since the
    epoch; by default now. method: name of the job's method, for log lines and `store watch`.
    start_workers: called with the number of processes that could build at once, if more than one.
    """

    start_workers: Callable[[int], None] | None = None

    def __init__(
        self,
        root: Path | str,
        force: Force = False,
        since: float | None = None,
        method: str = "method",
    ) -> None:
        self.root = Path(root).absolute()
        self.force, self.method = force, method
        self.since = time.time() if since is None else since

    def path(self, kind: str, key: Mapping[str, Any]) -> Path:
        """Return the folder of an artifact, whether or not it exists."""
        return self.root / kind / fingerprint(key)[:16]

    def find(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        """Return the artifact's folder if it exists, is intact and need not be rebuilt, else None.

        Builds and removes nothing.
        """
        path = self.path(kind, key)
        with self._explained():
            if not path.is_dir() or self._forced(kind, path):
                return None
            if fault := damage(path):
                log.warning("%s is damaged (%s)", short_name(path), fault)
                return None
        return self._hand_out(path)

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """Return the artifact's folder; build it first if it is missing, damaged or forced.

        `build` fills the given folder, which still has the files of an interrupted build, so it
        can resume from checkpoints and remove them at its end. If several processes request the
        same artifact, one builds it and the others wait. A forced rebuild happens beside the old
        artifact, which is replaced when the new one is complete.

        Raises:
            StoreError: the store's disk is full, or it cannot be read or written.
        """
        [(_, path)] = self.get_all([Wanted(kind, key, build)])
        return path

    def get_all(self, wanted: Sequence[Wanted]) -> Iterator[tuple[int, Path]]:
        """Yield the index and folder of each requested artifact as it becomes available; see `get`.

        This process builds the missing artifacts that no other process is building, one at a time.
        So processes that request the same artifacts share the work without a coordinator, and a
        process can join later. It waits only while all missing artifacts are being built elsewhere,
        and takes over the builds of dead processes (see `store.lock`).
        """
        items = [self._item(one) for one in wanted]
        left = dict(enumerate(items))
        group: Hashable = None
        waiting: float | None = None  # since when
        looks = 0
        with self._explained():
            while True:
                first = processes.is_first()
                # A complete artifact needs no lock, so a read-only store works
                there = [i for i, item in left.items() if self._has(item)] if first else []
                for i in processes.broadcast(there):
                    waiting = None
                    yield i, self._hand_out(left.pop(i).path)
                if not left:
                    return
                turn = self._turn(left, group, looks) if first else None
                at = processes.broadcast(None if turn is None else turn[0])
                if at is None:
                    waiting, looks = self._wait(left, waiting) if first else None, looks + 1
                    continue
                item, waiting, lock = items[at[0]], None, None if turn is None else turn[1]
                group = item.wanted.group
                try:
                    self._ensure([*item.needs, item][at[1]], lock)
                finally:
                    if lock is not None:
                        lock.release()

    def _item(self, one: Wanted) -> "_Item":
        return _Item(self.path(one.kind, one.key), one, [self._item(need) for need in one.needs])

    def _has(self, item: "_Item", quick: bool = False) -> bool:
        path, kind = item.path, item.wanted.kind
        return path.is_dir() and not (damage(path, quick=quick) or self._forced(kind, path))

    def _turn(
        self, left: Mapping[int, "_Item"], group: Hashable, looks: int
    ) -> tuple[tuple[int, int], Lock] | None:
        """Choose and lock the next artifact to build; None if others are building all of them.

        group: that of the last build, which is continued. looks: number of polls without success;
        each poll tries to lock another of the claimed artifacts, whose builder may have died.
        Returns ((i, j), lock): step j of artifact i of `left`, where the steps are its needs and
        then itself.
        """
        busy: set[Hashable] = set()
        apart = {i if one.wanted.group is None else one.wanted.group for i, one in left.items()}
        order = sorted(left, key=lambda i: left[i].wanted.group != group)
        for n, i in enumerate(order):
            item = left[i]
            if (of := item.wanted.group) in busy:
                continue
            needs = [(j, need) for j, need in enumerate(item.needs) if not self._has(need, True)]
            for j, step in needs or [(len(item.needs), item)]:
                step.path.parent.mkdir(parents=True, exist_ok=True)
                tried = n == looks % len(order) or not claim_file(step.path).exists()
                about = {"kind": step.wanted.kind, "key": step.wanted.key, "method": self.method}
                if tried and (lock := try_lock(step.path, about)):
                    if self.start_workers is not None and len(apart) > 1:
                        self.start_workers(len(apart))
                    return (i, j), lock
                busy |= {of} - {None}
        return None

    def _wait(self, left: Mapping[int, "_Item"], since: float | None) -> float:
        """Sleep for one polling interval; return since when this process has been waiting."""
        now = time.monotonic()
        if since is None:
            first, *more = (item.path for item in left.values())
            which = f"{short_name(first)} and {len(more)} more" if more else short_name(first)
            log.info("waiting for %s, being built by another process", which)
        shortest, longest = _PAUSES_S
        time.sleep(min(longest, max(shortest, (now - (since or now)) / 20)))
        return since or now

    def _hand_out(self, path: Path) -> Path:
        with suppress(OSError):  # the store may be read-only
            (path / _USED).touch()
            if claim_file(path).exists() and (lock := try_lock(path)):
                lock.release()  # remove the claim of a process killed right after its build
        return path

    def _forced(self, kind: str, path: Path) -> bool:
        """Return whether an artifact exists at `path` and is to be rebuilt."""
        if not (self.force == "all" or (self.force and kind == "part")):
            return False
        made = created(path)
        return made is not None and made < self.since

    def _ensure(self, item: "_Item", lock: Lock | None) -> None:
        """Build an artifact unless another process has built it; lock: None except on rank 0."""
        path, one = item.path, item.wanted
        if lock is None:
            self._build_on_other_rank(one.build)
            return
        partial, old = (path.with_name(f"{path.name}.{end}") for end in ("partial", "old"))
        if old.is_dir():
            finish_replacing(path, partial, old)
        fault = damage(path) if path.is_dir() else None
        forced = fault is None and self._forced(one.kind, path)
        if path.is_dir() and not (fault or forced):
            processes.broadcast(False)
            return
        if fault:
            log.warning("%s is damaged (%s): removed, building it again", short_name(path), fault)
            remove(path)
        processes.broadcast(True)
        if forced and partial.is_dir():  # a forced build does not resume
            shutil.rmtree(partial)
        if partial.is_dir():
            log.info("resuming %s from what an interrupted build left", short_name(path))
        partial.mkdir(exist_ok=True)
        started = time.time()
        try:
            with listen(lock.tell):
                one.build(partial)
        except BaseException as error:
            if not (isinstance(error, Exception) and lock.is_lost):
                with suppress(OSError):  # removes the folder only if it is empty
                    partial.rmdir()
                raise
        if lock.is_lost:
            log.warning("%s was taken over by another process meanwhile", short_name(path))
        else:
            seal(partial, one.kind, one.key, started, self.method)
            if forced:
                path.rename(old)
            partial.rename(path)
            sync(path.parent)
            trust(path)
            if forced:
                remove(old)
        processes.barrier()

    def _build_on_other_rank(self, build: Callable[[Path], None]) -> None:
        """Take part in a build of rank 0 and discard the files written here."""
        if processes.broadcast(True):
            with tempfile.TemporaryDirectory(prefix="untrac-") as folder:
                build(Path(folder))
            processes.barrier()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the operating system's errors about this store into `StoreError`."""
        try:
            yield
        except Exception as err:
            number = getattr(err, "errno", None)
            # safetensors raises its own error, without an errno
            if number in _FULL or any(os.strerror(full) in str(err) for full in _FULL):
                raise StoreError(
                    f"no space left for the store {self.root}: free some, as with `python -m "
                    f"untrac_exp.store gc --older-than 30d --root {self.root}`, or use another disk"
                ) from err
            name = getattr(err, "filename", None)
            if number in _UNUSABLE and name and Path(str(name)).is_relative_to(self.root):
                raise StoreError(
                    f"the store {self.root} cannot be used ({os.strerror(number)}: {name}): make "
                    "it a folder that you may read and write, or choose another"
                ) from err
            raise
