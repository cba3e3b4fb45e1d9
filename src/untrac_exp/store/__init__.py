"""Artifacts by content hash: tokenizers, packed data, θ0, the losses of counterfactual models.

An artifact lives in `<root>/<kind>/<hash>/`, where the hash is that of the configuration, the data
and the code (see `store.code`) that determine it, so that sweeps share it and an interrupted run
finds what it had finished.
It is built in `<hash>.partial/`, which survives a kill, under one lock a process may hold, and is
renamed when complete; `manifest.json` holds a checksum of each file, checked once a process.

`python -m untrac_exp.store ls` shows what a store holds and `... gc` removes what is chosen.
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

from untrac_exp import processes
from untrac_exp.progress import heard_by
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
"""Touched whenever an artifact is handed out, so that the newest mtime is that of its last use."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

_PAUSES_S = (0.05, 5.0)
"""Between two looks at what others build: a twentieth of the time waited, within these."""


class StoreError(ValueError):
    """The store cannot be read or written. The message is one line, for people."""


Force = bool | Literal["all"]
"""What is built again though it is there: nothing, the parts of methods' answers, everything."""


class Wanted(NamedTuple):
    """One artifact of those asked for together; kind, key and build as in `Store.get`.

    needs: artifacts that `build` reads, which are built before. group: artifacts of one group share
    what they compute on the way, so one process builds them, if more than one is at work.
    """

    kind: str
    key: Mapping[str, Any]
    build: Callable[[Path], None]
    needs: Sequence["Wanted"] = ()
    group: Hashable = None


class _Item(NamedTuple):
    """Where an artifact is, or would be, and those it needs."""

    path: Path
    wanted: Wanted
    needs: list["_Item"]


class Store:
    """The artifacts under one folder, which is made when the first one is built.

    force: what to build again. since: seconds since the epoch; what was built later is not built
    again. By default the time now. call_help: told how many processes could build at once, whenever
    that is more than one.
    """

    call_help: Callable[[int], None] | None = None

    def __init__(self, root: Path | str, force: Force = False, since: float | None = None) -> None:
        self.root = Path(root).absolute()
        self.force = force
        self.since = time.time() if since is None else since

    def path(self, kind: str, key: Mapping[str, Any]) -> Path:
        """Where the artifact is, or would be."""
        return self.root / kind / fingerprint(key)[:16]

    def find(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        """The artifact's folder if it is there, intact and not to be built again.

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
        """The artifact's folder, to be read only; built first if it is missing, damaged or forced.

        `build` fills the folder it is given. What an interrupted build left there is still there,
        so a long one can keep checkpoints in it, resume from them, and remove them at its end.
        Processes that ask for the same artifact at once build it once: the others wait. One that is
        there and forced is built anew beside the old one, which is kept until the new is complete.

        Raises:
            StoreError: the store's disk is full, or it cannot be read or written.
        """
        [(_, path)] = self.get_all([Wanted(kind, key, build)])
        return path

    def get_all(self, wanted: Sequence[Wanted]) -> Iterator[tuple[int, Path]]:
        """The index and the folder of each of many artifacts, as they get there.

        This process builds one after another of those that are missing and that no other process is
        building. So processes that ask for the same ones share the work without a coordinator, and
        one that comes late helps. It waits only while all that is missing is being built elsewhere,
        and takes over what a process that is gone has left (`store.lock` says when). See `get`.
        """
        items = [self._item(one) for one in wanted]
        left = dict(enumerate(items))
        group: Hashable = None
        waiting: float | None = None  # since when
        looks = 0
        with self._explained():
            while True:
                first = processes.is_first()
                # A complete artifact needs no lock, so a store that may only be read serves as well
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
        path = item.path
        return (
            path.is_dir()
            and not damage(path, quick=quick)
            and not self._forced(item.wanted.kind, path)
        )

    def _turn(
        self, left: Mapping[int, "_Item"], group: Hashable, looks: int
    ) -> tuple[tuple[int, int], Lock] | None:
        """What this process is to build next, and its lock; None if others build all of it.

        group: the one it worked on last, with which it goes on. looks: how often it has looked in
        vain; of what others claim, it tries a different one each time, for that may be free again.
        What is to build is said by its index in `left`, and in what that one needs and itself.
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
                about = {"kind": step.wanted.kind, "key": step.wanted.key}
                if tried and (lock := try_lock(step.path, about)):
                    if self.call_help is not None and len(apart) > 1:
                        self.call_help(len(apart))
                    return (i, j), lock
                busy |= {of} - {None}
        return None

    def _wait(self, left: Mapping[int, "_Item"], since: float | None) -> float:
        """A while; since when this process has waited for the same artifacts."""
        now = time.monotonic()
        if since is None:
            first, *more = (item.path for item in left.values())
            which = f"{short_name(first)} and {len(more)} more" if more else short_name(first)
            log.info("waiting for %s, being built by another process", which)
        shortest, longest = _PAUSES_S
        time.sleep(min(longest, max(shortest, (now - (since or now)) / 20)))
        return since or now

    def _hand_out(self, path: Path) -> Path:
        with suppress(OSError):  # a store that may only be read keeps no record of its use
            (path / _USED).touch()
            if claim_file(path).exists() and (lock := try_lock(path)):
                lock.release()  # of a process killed between its artifact's last step and this one
        return path

    def _forced(self, kind: str, path: Path) -> bool:
        """Whether the artifact at `path`, if it is there, is older than the wish for a new one."""
        if not (self.force == "all" or (self.force and kind == "part")):
            return False
        made = created(path)
        return made is not None and made < self.since

    def _ensure(self, item: "_Item", lock: Lock | None) -> None:
        """Build it, unless another process has built it since. lock: of the first process."""
        path, one = item.path, item.wanted
        if lock is None:
            self._help(one.build)
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
        if forced and partial.is_dir():  # of a build that trusted what an earlier one had left
            shutil.rmtree(partial)
        if partial.is_dir():
            log.info("resuming %s from what an interrupted build left", short_name(path))
        partial.mkdir(exist_ok=True)
        started = time.time()
        try:
            with heard_by(lock.tell):
                one.build(partial)
        except BaseException as error:
            if not (isinstance(error, Exception) and lock.is_lost):
                with suppress(OSError):  # keep what was written; an empty folder is no use
                    partial.rmdir()
                raise
        if lock.is_lost:
            log.warning("%s was taken over by another process meanwhile", short_name(path))
        else:
            seal(partial, one.kind, one.key, started)
            if forced:
                path.rename(old)
            partial.rename(path)
            sync(path.parent)
            trust(path)
            if forced:
                remove(old)
        processes.barrier()

    def _help(self, build: Callable[[Path], None]) -> None:
        """Take part in a build of the first process, which alone keeps what it writes."""
        if processes.broadcast(True):
            with tempfile.TemporaryDirectory(prefix="untrac-") as folder:
                build(Path(folder))
            processes.barrier()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the operating system says of this store's disk into a line for people."""
        try:
            yield
        except Exception as err:
            number = getattr(err, "errno", None)
            # the writers that are not Python's own (safetensors) say so in words alone
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
