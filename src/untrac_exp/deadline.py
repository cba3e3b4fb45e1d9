"""A time by which to be done."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from untrac_exp import processes
from untrac_exp.progress import seconds_of

AUTO_S = 600.0
"""Of `budget=auto` on a CPU."""


class OutOfTimeError(BaseException):
    """The time is over; no `Exception`, so that nothing on the way takes it for a failure."""


def budget_s(value: Any, device: torch.device | None = None) -> float | None:
    """The key `budget` in seconds; None for no limit. device: tells what "auto" is."""
    if value is None:
        return None
    if value == "auto":
        return AUTO_S if device is None or device.type == "cpu" else None
    return seconds_of("budget", value)


@contextmanager
def until(when: float | None) -> Iterator[None]:
    """Raise `OutOfTimeError` in here at that time, where the system can and one process runs."""
    main = threading.current_thread() is threading.main_thread()
    if when is None or not main or processes.number() > 1 or not hasattr(signal, "setitimer"):
        yield
        return

    def over(*_: Any) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, when - time.time()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
