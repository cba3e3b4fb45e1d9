"""Files of one artifact: its lock, and its manifest, which has the checksum of each file."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from filelock import FileLock, Timeout

from untrac_exp.store.key import fingerprint

MANIFEST = "manifest.json"

# Artifacts that this process has verified: path -> mtime_ns of the manifest.
_verified: dict[Path, int] = {}


def lock_of(path: Path) -> FileLock:
    """Return the lock of the artifact at `path`: `flock`, which ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f"{path.name}.lock"), fallback_to_soft=False)


def is_locked(path: Path) -> bool:
    """Return whether a process is building or removing the artifact at `path`."""
    try:
        with lock_of(path).acquire(timeout=0):
            return False
    except Timeout:
        return True


def short_name(path: Path) -> str:
    """Return the path below the store, such as `model/0123456789abcdef`."""
    return f"{path.parent.name}/{path.name}"


def damage(path: Path) -> str | None:
    """Return what is wrong with the artifact at `path`, naming the file; None if it is intact.

    Checksums are verified once per process.
    """
    try:
        stamp = (path / MANIFEST).stat().st_mtime_ns
        if _verified.get(path) == stamp:
            return None
        for name, expected in _manifest_files(path).items():
            file = path / name
            if (size := file.stat().st_size) != expected["size"]:
                return f"{name} has {size} bytes instead of {expected['size']}"
            if _sha256(file) != expected["sha256"]:
                return f"{name} has another checksum"
    except FileNotFoundError as err:
        return f"{Path(err.filename).relative_to(path)} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is unreadable"
    _verified[path] = stamp
    return None


def read_manifest(path: Path) -> dict[str, Any]:
    """Read an artifact's manifest; raises OSError or ValueError if that is not possible."""
    return dict(json.loads((path / MANIFEST).read_bytes()))


def _manifest_files(path: Path) -> dict[str, dict[str, Any]]:
    manifest = read_manifest(path)
    if fingerprint(manifest["key"])[:16] != path.name.partition(".")[0]:
        raise ValueError("the manifest is of another artifact")
    return dict(manifest["files"])


def remove(folder: Path) -> None:
    """Remove an artifact or a partial folder; the caller holds the lock."""
    # Remove the manifest first, so that an interrupted removal is detected as damage.
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


def seal(partial: Path, kind: str, key: Mapping[str, Any], command: str) -> None:
    """Write the manifest of the built files; command: as in `Store`.

    Nothing is flushed to disk: files that a power failure cuts have another checksum.
    """
    files, mode = {}, partial.stat().st_mode & 0o666
    for file in sorted(partial.rglob("*")):
        name = file.relative_to(partial).as_posix()
        if name != MANIFEST and not file.is_dir():
            file.chmod(mode)  # safetensors writes files that only their owner can read
            files[name] = {"sha256": _sha256(file), "size": file.stat().st_size}
    manifest = {
        "kind": kind,
        "key": key,
        "command": command,
        "created": datetime.now(UTC).isoformat(),
        "files": files,
        "versions": versions(),
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, default=dict) + "\n")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the libraries that results depend on."""
    libraries = ("torch", "transformers", "lightning")
    own = {"untrac_exp": version("untrac-exp"), "python": python_version()}
    return own | {name: version(name) for name in libraries}


def trust(path: Path) -> None:
    """Mark an artifact that this process has built as verified."""
    _verified[path] = (path / MANIFEST).stat().st_mtime_ns
