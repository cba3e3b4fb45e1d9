"""One process at a time builds or removes an artifact, on one machine or on many.

A lock is two files beside the artifact:

- `<hash>.lock`, under `flock` (filelock). The system frees it when its holder dies, however it
  dies: at once on one machine, and on NFS 4 when the server has not heard of the holder's node for
  its lease time (90 s unless set otherwise). It is never taken from a process that lives, one that
  is stopped by SIGSTOP or a batch system included.
- `<hash>.claim`, made by an exclusive create, which NFS does atomically too. It says who builds
  what since when, and its holder touches it every `HEARTBEAT_S` seconds. It is there for file
  systems whose `flock` holds within one node alone (Lustre without the mount option `flock`,
  BeeGFS as installed) or does not exist, and for `python -m untrac_exp.store watch`.

Who gets the first and finds the second, of another process, takes it over: at once if that process
ran on this machine (by its boot id), where it would hold the `flock` if it lived; else once nobody
has touched the claim for `LEASE_S` seconds of the finder's own clock. Where `flock` does not reach
other nodes, a process that was stopped for so long may lose its claim; what it builds is dropped.

What a dead node leaves: the partial folder, which is resumed, and the claim, which the next holder
replaces. NFS 3 may keep a dead node's `flock` until that node is back: delete the `.lock` then.

filelock's own lease (`SoftFileLease`) cannot be taken over on NFS, which has no atomic exchange.
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
"""What a claim has until its maker has written it, who may have died before."""

_seen: dict[Path, tuple[object, float]] = {}
"""Claims of other machines: their last sign of life, and when this process first saw it."""


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
        """Whether another machine has taken it over."""
        try:
            return not os.path.samestat(os.stat(claim_file(self.path)), os.fstat(self._claim))
        except FileNotFoundError:
            return True

    def tell(self, progress: Mapping[str, Any]) -> None:
        """How far the build is, in JSON; it is in the claim after the next heartbeat."""
        self._progress = progress

    def release(self) -> None:
        self._released.set()
        if not self.is_lost:
            claim_file(self.path).unlink(missing_ok=True)
        os.close(self._claim)
        if self._flock is not None:
            self._flock.release()  # its file stays: two may hold one lock if it is made again

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            with suppress(OSError):  # a network file system that is away for a while
                _write(self._claim, {**self._content, "progress": self._progress})


def try_lock(path: Path, about: Mapping[str, Any] | None = None) -> Lock | None:
    """The lock of an artifact, held; None if another holder has it. To be released.

    about: what is being built, for those who watch.
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
    """Where the claim on an artifact is, or would be."""
    return path.with_name(f"{path.name}.claim")


def read_claim(file: Path) -> dict[str, Any] | None:
    """Who claims what: token, machine, host, pid, since, about, and progress where there is some.

    Empty if it cannot be read, as while it is being written; None if it is not there.
    """
    try:
        content = json.loads(file.read_bytes())
        return content if isinstance(content, dict) else {}
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return {}


def short_name(path: Path) -> str:
    """`model/0123456789abcdef`."""
    return f"{path.parent.name}/{path.name}"


def _claim(path: Path, content: dict[str, Any], alone_here: bool) -> int | None:
    """The file of a new claim, open; None while another's may be of a process that lives.

    alone_here: whether no other process of this machine can hold the lock.
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
    """Whether the claim has shown no sign of life for so many seconds."""
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
    """Remove a claim that was judged to be of a process that is gone, and no other."""
    aside = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):  # another has been faster
        file.rename(aside)
        if (read_claim(aside) or {}).get("token") != expected.get("token"):
            with suppress(FileExistsError):  # that of one who has been faster: back to its place
                os.link(aside, file)
        aside.unlink()


def _write(descriptor: int, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, default=dict).encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))
    os.fsync(descriptor)  # other nodes see the new time


def _owner(claim: Mapping[str, Any]) -> str:
    return (
        f"process {claim.get('pid', '?')} of {claim.get('host', 'an unknown host')}, which is gone"
    )


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
