"""Locks: one process at a time builds or removes an artifact, on one machine or several.

A lock is two files beside the artifact:

- `<hash>.lock`, held with `flock` (filelock). The system releases it when its holder dies: at once
  on one machine; on NFS 4 after the server's lease time without contact to the holder's node (90 s
  by default). It is never taken from a live process, even one stopped by SIGSTOP.
- `<hash>.claim`, created exclusively, which is atomic on NFS too. It records who builds what since
  when, and its holder updates it every `HEARTBEAT_S` seconds. It is needed on file systems where
  `flock` is local to a node (Lustre without the mount option `flock`, BeeGFS by default) or
  missing, and is read by `python -m untrac_exp.store watch`.

A process that holds the first and finds another process's claim takes the claim over: at once if
that process ran on this machine (by boot id), since it would hold the `flock` if it were alive;
otherwise when the claim has not been updated for `LEASE_S` seconds of the finder's clock. Where
`flock` is local to a node, a process that is stopped for that long loses its claim, and its build
is discarded.

A dead node leaves a partial folder, which is resumed, and a claim, which is replaced. NFS 3 may
keep a dead node's `flock` until the node returns; in that case delete the `.lock`.

filelock's `SoftFileLease` cannot be taken over on NFS, which has no atomic exchange.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from errno import ENOSYS, ENOTSUP
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

HEARTBEAT_S = 20.0
LEASE_S = 300.0
_UNREADABLE_S = 10.0
"""Lease of a claim whose content is not written yet."""

_seen: dict[Path, tuple[object, float]] = {}
"""Claims of other machines: (inode, mtime and size; monotonic time when first seen)."""


class Lock:
    """The lock of one artifact, held until `release`."""

    def __init__(self, path: Path, flock: FileLock | None, claim: int, content: dict) -> None:
        self.path = path
        self._flock, self._claim, self._content = flock, claim, content
        self._released = threading.Event()
        self._progress: Mapping[str, Any] | None = None
        threading.Thread(target=self._beat, daemon=True, name="untrac-heartbeat").start()

    @property
    def is_lost(self) -> bool:
        """Whether another machine has taken the claim over."""
        try:
            return not os.path.samestat(os.stat(claim_file(self.path)), os.fstat(self._claim))
        except FileNotFoundError:
            return True

    def tell(self, progress: Mapping[str, Any]) -> None:
        """Record the progress of the build; the next heartbeat writes it to the claim."""
        self._progress = progress

    def release(self) -> None:
        self._released.set()
        if not self.is_lost:
            claim_file(self.path).unlink(missing_ok=True)
        os.close(self._claim)
        if self._flock is not None:
            self._flock.release()  # keeps the file: if it were recreated, two could hold the lock

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            with suppress(OSError):  # a network file system may be unavailable for a while
                _write(self._claim, {**self._content, "progress": self._progress})


def try_lock(path: Path, about: Mapping[str, Any] | None = None) -> Lock | None:
    """Acquire the lock of an artifact; None if another process holds it. The caller releases it.

    about: description of the build for `store watch`.
    """
    flock: FileLock | None = FileLock(path.with_name(f"{path.name}.lock"), fallback_to_soft=False)
    assert flock is not None
    try:
        flock.acquire(timeout=0)
    except Timeout:
        return None
    except OSError as error:
        if error.errno not in (ENOSYS, ENOTSUP):
            raise
        flock = None
    try:
        content = {
            "token": secrets.token_hex(8), "machine": _machine(), "host": socket.gethostname(),
            "pid": os.getpid(), "since": time.time(), "about": dict(about or {}),
        }  # fmt: skip
        claim = _claim(path, content, alone_here=flock is not None)
    except BaseException:
        if flock is not None:
            flock.release()
        raise
    if claim is None:
        if flock is not None:
            flock.release()
        return None
    return Lock(path, flock, claim, content)


def claim_file(path: Path) -> Path:
    """Return the path of the claim on an artifact."""
    return path.with_name(f"{path.name}.claim")


def read_claim(file: Path) -> dict[str, Any] | None:
    """Read a claim: token, machine, host, pid, since, about, and progress if there is any.

    Empty if it cannot be parsed, for example while it is being written; None if it does not exist.
    """
    try:
        content = json.loads(file.read_bytes())
        return content if isinstance(content, dict) else {}
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return {}


def short_name(path: Path) -> str:
    """Return the path below the store, such as `model/0123456789abcdef`."""
    return f"{path.parent.name}/{path.name}"


def _claim(path: Path, content: dict[str, Any], alone_here: bool) -> int | None:
    """Create a claim and return its file descriptor; None if another claim may still be alive.

    alone_here: whether this process holds the `flock`.
    """
    file = claim_file(path)
    if (other := read_claim(file)) is not None:
        died_here = alone_here and other.get("machine") == content["machine"]
        if not (died_here or _is_expired(file, LEASE_S if other else _UNREADABLE_S)):
            return None
        log.info("taking over %s from %s", short_name(path), _owner(other))
        _set_aside(file, other)
    _seen.pop(file, None)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    _write(descriptor, content)
    return descriptor


def _is_expired(file: Path, after: float) -> bool:
    """Return whether the claim has not been updated for `after` seconds."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return False
    sign = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
    now = time.monotonic()
    known, since = _seen.get(file, (None, now))
    if known != sign:
        _seen[file] = (sign, now)
        return False
    return now - since >= after


def _set_aside(file: Path, expected: Mapping[str, Any]) -> None:
    """Remove the claim of a dead process, and no other claim."""
    aside = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):  # another process was faster
        file.rename(aside)
        if (read_claim(aside) or {}).get("token") != expected.get("token"):
            with suppress(FileExistsError):  # a new claim of a faster process: put it back
                os.link(aside, file)
        aside.unlink()


def _write(descriptor: int, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, default=dict).encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))
    os.fsync(descriptor)  # makes the new mtime visible to other nodes


def _owner(claim: Mapping[str, Any]) -> str:
    return (
        f"process {claim.get('pid', '?')} of {claim.get('host', 'an unknown host')}, which is gone"
    )


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
