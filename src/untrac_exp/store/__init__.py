"""Content-addressed store of tokenizers, packed data, models, losses and parts of results.

An artifact is a folder `<root>/<kind>/<hash>/`. The hash covers the configuration, the data and the
code (see `store.code`) that determine it, so sweeps share artifacts and an interrupted run resumes.
One process at a time builds it, under a lock, in `<hash>.partial/`, which is renamed when complete.
`manifest.json` has a checksum of each file, which each process verifies once.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from filelock import Timeout

from untrac_exp.runtime import processes
from untrac_exp.runtime.parallel import Parallel
from untrac_exp.store.artifact import (
    MANIFEST,
    damage,
    is_locked,
    lock_of,
    read_manifest,
    remove,
    seal,
    short_name,
    trust,
)
from untrac_exp.store.key import fingerprint as fingerprint

log = logging.getLogger(__name__)

HERE = Parallel()
"""Builds artifacts one after another in this process."""

_POLL_S = 0.1


Force = bool | Literal["all"]
"""What is rebuilt: nothing (False), parts of methods' results (True), or everything ("all")."""


class Artifact(NamedTuple):
    """Request for one artifact; kind, key and build as in `Store.get`."""

    kind: str
    key: Mapping[str, Any]
    build: Callable[[Path], None]


class Store:
    """The artifacts under one folder, which is created by the first build.

    force: what to rebuild. command: with `force`, artifacts that this command has built are kept;
    its name is any text that no other command has. method: name of the job's method, for log
    lines. parallel: where independent artifacts are built.
    """

    def __init__(
        self,
        root: Path | str,
        force: Force = False,
        command: str | None = None,
        method: str = "method",
        parallel: Parallel = HERE,
    ) -> None:
        self.root = Path(root).absolute()
        self.force, self.method, self.parallel = force, method, parallel
        self.command = uuid4().hex if command is None else command

    def path(self, kind: str, key: Mapping[str, Any]) -> Path:
        """Return the folder of an artifact, whether or not it exists."""
        return self.root / kind / fingerprint(key)[:16]

    def find(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        """Return the artifact's folder if it exists, is intact and need not be rebuilt, else None.

        Builds and removes nothing.
        """
        path = self.path(kind, key)
        return path if self._has(kind, path) else None

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """Return the artifact's folder; build it first if it is missing, damaged or forced.

        `build` fills the given folder, which still has the files of an interrupted build, so it
        can resume from checkpoints and remove them at its end. If several processes request the
        same artifact, one builds it and the others wait. A forced rebuild happens beside the old
        artifact, which is replaced when the new one is complete.
        """
        [(_, path)] = self._get_all([Artifact(kind, key, build)], HERE)
        return path

    def get_all(self, artifacts: Sequence[Artifact]) -> Iterator[tuple[int, Path]]:
        """Yield the index and folder of each requested artifact as it becomes available; see `get`.

        The missing ones are built by the workers of `parallel`, and those that another command is
        building are left to it. Only then does this process wait; it builds what a dead one left.
        So commands that need the same artifacts share the work without a coordinator.
        """
        return self._get_all(artifacts, self.parallel)

    def _get_all(
        self, artifacts: Sequence[Artifact], parallel: Parallel
    ) -> Iterator[tuple[int, Path]]:
        left, is_logged = dict(enumerate(artifacts)), False
        while True:
            # A complete artifact needs no lock, so a read-only store works
            there = [
                i
                for i, artifact in left.items()
                if processes.is_first() and self._has(artifact.kind, self._path(artifact))
            ]
            for i in processes.broadcast(there):
                yield i, self._path(left.pop(i))
            if not left:
                return
            missing = list(left)
            tasks = [partial(self._try_build, left[i]) for i in missing]
            for n, is_built in parallel.run(tasks):
                if is_built:
                    yield missing[n], self._path(left.pop(missing[n]))
            if left and processes.is_first():
                self._wait([self._path(artifact) for artifact in left.values()], is_logged)
                is_logged = True

    def _try_build(self, artifact: Artifact) -> bool:
        """Build an artifact, unless another process is building it."""
        with ExitStack() as lock:
            is_free = True
            if processes.is_first():
                try:
                    lock.enter_context(lock_of(self._path(artifact)).acquire(timeout=0))
                except Timeout:
                    is_free = False
            if not processes.broadcast(is_free):
                return False
            self._ensure(artifact)
            return True

    def _wait(self, paths: Sequence[Path], is_logged: bool) -> None:
        """Wait until one of the artifacts, which others are building, is built or given up."""
        if not is_logged:
            which = short_name(paths[0]) + (f" and {len(paths) - 1} more" if paths[1:] else "")
            log.info("waiting for %s, being built by another process", which)
        while all(map(is_locked, paths)):
            time.sleep(_POLL_S)

    def _ensure(self, artifact: Artifact) -> None:
        """Build an artifact, whose lock is held, unless another process has built it."""
        if not processes.is_first():
            if processes.broadcast(True):  # take part, and discard the files written here
                with tempfile.TemporaryDirectory(prefix="untrac-") as folder:
                    artifact.build(Path(folder))
                processes.barrier()
            return
        path = self._path(artifact)
        partial = path.with_name(f"{path.name}.partial")
        if (partial / MANIFEST).exists() and damage(partial) is None:
            _replace(path, partial)  # its builder was killed right before
        fault = damage(path) if path.is_dir() else None
        forced = fault is None and self._forced(artifact.kind, path)
        if not processes.broadcast(not path.is_dir() or fault is not None or forced):
            return
        if fault:
            log.warning("%s is damaged (%s): removed, building it again", short_name(path), fault)
            remove(path)
        if forced and partial.is_dir():  # a forced build does not resume
            shutil.rmtree(partial)
        if partial.is_dir():
            log.info("resuming %s from what an interrupted build left", short_name(path))
        partial.mkdir(exist_ok=True)
        try:
            artifact.build(partial)
        except BaseException as error:
            error.add_note(f"in {partial}")
            with suppress(OSError):  # removes the folder only if it is empty
                partial.rmdir()
            raise
        seal(partial, artifact.kind, artifact.key, self.command)
        _replace(path, partial)
        processes.barrier()

    def _has(self, kind: str, path: Path) -> bool:
        return path.is_dir() and not (damage(path) or self._forced(kind, path))

    def _forced(self, kind: str, path: Path) -> bool:
        """Return whether an artifact exists at `path` and is to be rebuilt."""
        if not (self.force == "all" or (self.force and kind == "part")):
            return False
        with suppress(OSError, ValueError):
            return read_manifest(path).get("command") != self.command
        return False

    def _path(self, artifact: Artifact) -> Path:
        return self.path(artifact.kind, artifact.key)


class ReadOnlyStore(Store):
    """A store that is only read; what it lacks is built in `beside`, a temporary folder."""

    def __init__(self, root: Path | str, force: Force, beside: Path | str) -> None:
        super().__init__(root, force)
        self.beside = Store(beside)

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        return self.find(kind, key) or self.beside.get(kind, key, build)


def _replace(path: Path, partial: Path) -> None:
    """Give a sealed partial folder its name, in place of an older artifact."""
    if path.is_dir():
        remove(path)
    partial.rename(path)
    trust(path)
