"""Artifacts by content hash: tokenizers, packed data, θ0, the losses of counterfactual models.

An artifact lives in `<root>/<kind>/<hash>/`, where the hash is that of the configuration, the data
and the code (see `store.code`) that determine it, so that sweeps share it and an interrupted run
finds what it had finished.
It is built in `<hash>.partial/`, which survives a kill, under one lock a process may hold, and is
renamed when complete; `manifest.json` holds a checksum of each file, checked once a process.

`python -m untrac_exp.store ls` shows what a store holds and `... gc` removes what is chosen.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any, Literal

from untrac_exp import __version__, processes
from untrac_exp.store.key import fingerprint
from untrac_exp.store.lock import locked, short_name

log = logging.getLogger(__name__)

__all__ = ["MANIFEST", "Force", "Store", "StoreError", "damage", "fingerprint", "remove"]

MANIFEST = "manifest.json"
_USED = ".used"
"""Touched whenever an artifact is handed out, so that the newest mtime is that of its last use."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

# Artifacts whose checksums this process has seen to be right: path -> mtime_ns of the manifest.
_verified: dict[Path, int] = {}


class StoreError(ValueError):
    """The store cannot be read or written. The message is one line, for people."""


Force = bool | Literal["all"]
"""What is built again though it is there: nothing, the parts of methods' answers, everything."""


class Store:
    """The artifacts under one folder, which is made when the first one is built.

    force: what to build again. since: seconds since the epoch; what was built later is not built
    again. By default the time now.
    """

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
        _touch(path)
        return path

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """The artifact's folder, to be read only; built first if it is missing, damaged or forced.

        `build` fills the folder it is given. What an interrupted build left there is still there,
        so a long one can keep checkpoints in it, resume from them, and remove them at its end.
        Processes that ask for the same artifact at once build it once: the others wait. One that is
        there and forced is built anew beside the old one, which is kept until the new is complete.

        Raises:
            StoreError: the store's disk is full, or it cannot be read or written.
        """
        path = self.path(kind, key)
        with self._explained():
            # A complete artifact needs no lock, so a store that may only be read serves as well.
            missing = not path.is_dir() or bool(damage(path))
            if processes.agreed(missing or self._forced(kind, path)):
                path.parent.mkdir(parents=True, exist_ok=True)
                with locked(path) if processes.is_first() else nullcontext():
                    self._ensure(path, kind, key, build)
        _touch(path)
        return path

    def _forced(self, kind: str, path: Path) -> bool:
        """Whether the artifact at `path`, if it is there, is older than the wish for a new one."""
        if not (self.force == "all" or (self.force and kind == "part")):
            return False
        created = _created(path)
        return created is not None and created < self.since

    def _ensure(
        self, path: Path, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]
    ) -> None:
        if not processes.is_first():
            self._help(build)
            return
        partial, old = _partial(path), path.with_name(f"{path.name}.old")
        if old.is_dir():
            _finish_replacing(path, partial, old)
        fault = damage(path) if path.is_dir() else None
        forced = fault is None and self._forced(kind, path)
        if path.is_dir() and not (fault or forced):  # another process has built it since
            processes.agreed(False)
            return
        if fault:
            log.warning("%s is damaged (%s): removed, building it again", short_name(path), fault)
            remove(path)
        processes.agreed(True)
        if forced and partial.is_dir():  # of a build that trusted what an earlier one had left
            shutil.rmtree(partial)
        if partial.is_dir():
            log.info("resuming %s from what an interrupted build left", short_name(path))
        partial.mkdir(exist_ok=True)
        try:
            build(partial)
        except BaseException:
            with suppress(OSError):  # keep what was written; an empty folder is no use
                partial.rmdir()
            raise
        _seal(partial, kind, key)
        if forced:
            path.rename(old)
        partial.rename(path)
        _sync(path.parent)
        _verified[path] = (path / MANIFEST).stat().st_mtime_ns
        if forced:
            remove(old)
        processes.wait()

    def _help(self, build: Callable[[Path], None]) -> None:
        """Take part in a build of the first process, which alone keeps what it writes."""
        if processes.agreed(True):
            with tempfile.TemporaryDirectory(prefix="untrac-") as folder:
                build(Path(folder))
            processes.wait()

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


def damage(path: Path, *, quick: bool = False) -> str | None:
    """What is wrong with the artifact at `path`, naming the file; None if nothing is.

    The checksums are computed once a process; `quick` looks at the files' sizes alone.
    """
    try:
        stamp = (path / MANIFEST).stat().st_mtime_ns
        if _verified.get(path) == stamp:
            return None
        for name, expected in _manifest_files(path).items():
            file = path / name
            if (size := file.stat().st_size) != expected["size"]:
                return f"{name} has {size} bytes instead of {expected['size']}"
            if not quick and _sha256(file) != expected["sha256"]:
                return f"{name} has another checksum"
    except FileNotFoundError as err:
        return f"{Path(err.filename).relative_to(path)} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is unreadable"
    if not quick:
        _verified[path] = stamp
    return None


def _manifest_files(path: Path) -> dict[str, dict[str, Any]]:
    manifest = json.loads((path / MANIFEST).read_bytes())
    if fingerprint(manifest["key"])[:16] != path.name.partition(".")[0]:
        raise ValueError("the manifest is of another artifact")
    return dict(manifest["files"])


def _created(path: Path) -> float | None:
    """When the artifact was built, in seconds since the epoch; None if it is not there."""
    try:
        created = json.loads((path / MANIFEST).read_bytes())["created"]
        return datetime.fromisoformat(created).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _finish_replacing(path: Path, partial: Path, old: Path) -> None:
    """What a kill while `old` made room for `partial` has left undone."""
    if not path.is_dir():
        # the manifest is a build's last file
        (partial if (partial / MANIFEST).exists() else old).rename(path)
    if old.is_dir():
        remove(old)


def remove(folder: Path) -> None:
    """Remove an artifact or what a build has left; the caller holds the lock."""
    # The manifest first: what a kill leaves of the rest is then known to be damaged.
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _seal(partial: Path, kind: str, key: Mapping[str, Any]) -> None:
    """Bring the built files to the disk and write their manifest."""
    files = {}
    for file in sorted(partial.rglob("*")):
        name = file.relative_to(partial).as_posix()
        if name != MANIFEST and not file.is_dir():
            _sync(file)
            files[name] = {"sha256": _sha256(file), "size": file.stat().st_size}
    manifest = {
        "kind": kind,
        "key": key,
        "created": datetime.now(UTC).isoformat(),
        "files": files,
        "versions": {
            "untrac_exp": __version__,
            "python": python_version(),
            "torch": _version("torch"),
            "transformers": _version("transformers"),
        },
    }
    file = partial / MANIFEST
    file.write_text(json.dumps(manifest, indent=1, default=dict) + "\n")
    for made in (file, *(d for d in partial.rglob("*") if d.is_dir()), partial):
        _sync(made)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _touch(path: Path) -> None:
    with suppress(OSError):  # a store that may only be read keeps no record of its use
        (path / _USED).touch()


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")
