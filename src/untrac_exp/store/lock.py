"""One process at a time builds or removes an artifact."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


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
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of an artifact; wait for it, and say so, while another process holds it."""
    lock = try_lock(path)
    if lock is None:
        log.info("waiting for %s, being built by another process", short_name(path))
        while (lock := try_lock(path)) is None:
            time.sleep(0.1)
    try:
        yield
    finally:
        lock.release()


def short_name(path: Path) -> str:
    """`model/0123456789abcdef`."""
    return f"{path.parent.name}/{path.name}"
