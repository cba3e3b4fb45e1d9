"""Artifacts by content hash: tokenizers, packed data, θ0, the losses of counterfactual models.

An artifact lives in `<root>/<kind>/<hash>/`, where the hash is that of the configuration and the
data that determine it, so that sweeps share it and an interrupted run finds what it had finished.
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
from typing import Any

from filelock import FileLock, Timeout

from untrac_exp import __version__, processes

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_USED = ".used"
"""Touched whenever an artifact is handed out, so that the newest mtime is that of its last use."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

# Artifacts whose checksums this process has seen to be right: path -> mtime_ns of the manifest.
_verified: dict[Path, int] = {}


class StoreError(ValueError):
    """The store cannot be read or written. The message is one line, for people."""


def fingerprint(value: Any) -> str:
    """SHA-256 in hex of a JSON-able value; the order of a mapping's keys does not matter.

    Raises:
        TypeError: something in it is not JSON (a path, a set, a key that is not a string).
        ValueError: a float in it is NaN or infinite.
    """
    _check_json(value, "key")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_json(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            # json.dumps would turn 1 into "1", and two keys into one hash
            if not isinstance(name, str):
                raise TypeError(f"{where}: the name {name!r} is not a string")
            _check_json(item, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_json(item, f"{where}[{i}]")
    elif isinstance(value, float):
        if value - value != 0:
            raise ValueError(f"{where} is {value}, which equals nothing; give a finite number")
    elif not isinstance(value, str | int | None):
        raise TypeError(f"{where} is a {type(value).__name__}, which is not JSON")


class Store:
    """The artifacts under one folder, which is made when the first one is built."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()

    def path(self, kind: str, key: Mapping[str, Any]) -> Path:
        """Where the artifact is, or would be."""
        return self.root / kind / fingerprint(key)[:16]

    def find(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        """The artifact's folder if it is there and intact. Builds and removes nothing."""
        path = self.path(kind, key)
        with self._explained():
            if not path.is_dir():
                return None
            if fault := damage(path):
                log.warning("%s is damaged (%s)", _name(path), fault)
                return None
        _touch(path)
        return path

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """The artifact's folder, to be read only; built first if it is missing or damaged.

        `build` fills the folder it is given. What an interrupted build left there is still there,
        so a long one can keep checkpoints in it, resume from them, and remove them at its end.
        Processes that ask for the same artifact at once build it once: the others wait.

        Raises:
            StoreError: the store's disk is full, or it cannot be read or written.
        """
        path = self.path(kind, key)
        with self._explained():
            # A complete artifact needs no lock, so a store that may only be read serves as well.
            if processes.agreed(not path.is_dir() or bool(damage(path))):
                path.parent.mkdir(parents=True, exist_ok=True)
                with _locked(path) if processes.is_first() else nullcontext():
                    self._ensure(path, kind, key, build)
        _touch(path)
        return path

    def _ensure(
        self, path: Path, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]
    ) -> None:
        if not processes.is_first():
            self._help(build)
            return
        if path.is_dir():
            fault = damage(path)
            if fault is None:  # another process has built it since
                processes.agreed(False)
                return
            log.warning("%s is damaged (%s): removed, building it again", _name(path), fault)
            remove(path)
        processes.agreed(True)
        partial = _partial(path)
        if partial.is_dir():
            log.info("resuming %s from what an interrupted build left", _name(path))
        partial.mkdir(exist_ok=True)
        try:
            build(partial)
        except BaseException:
            with suppress(OSError):  # keep what was written; an empty folder is no use
                partial.rmdir()
            raise
        _seal(partial, kind, key)
        partial.rename(path)
        _sync(path.parent)
        _verified[path] = (path / MANIFEST).stat().st_mtime_ns
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
    if fingerprint(manifest["key"])[:16] != path.name:
        raise ValueError("the manifest is of another artifact")
    return dict(manifest["files"])


def remove(folder: Path) -> None:
    """Remove an artifact or what a build has left; the caller holds the lock."""
    # The manifest first: what a kill leaves of the rest is then known to be damaged.
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


def try_lock(path: Path) -> FileLock | None:
    """The lock of an artifact, held; None if another holder has it. To be released."""
    # flock: the system frees it when its holder dies, however it dies
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = try_lock(path)
    if lock is None:
        log.info("waiting for %s, being built by another process", _name(path))
        while (lock := try_lock(path)) is None:
            time.sleep(0.1)
    try:
        yield
    finally:
        lock.release()


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
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
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


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
