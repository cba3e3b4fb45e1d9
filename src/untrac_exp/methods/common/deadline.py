"""Time budgets and deadlines."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from untrac_exp.runtime import processes
from untrac_exp.runtime.progress import parse_duration

AUTO_S = 600.0
"""Seconds of `budget=auto` on a CPU."""


class OutOfTimeError(BaseException):
    """The deadline has passed; not an `Exception`, so that no handler swallows it."""


def budget_s(value: Any, device: torch.device | None = None) -> float | None:
    """Return the key `budget` in seconds; None for no limit. device: resolves "auto"."""
    if value is None:
        return None
    if value == "auto":
        return AUTO_S if device is None or device.type == "cpu" else None
    return parse_duration("budget", value)


@contextmanager
def until(when: float | None) -> Iterator[None]:
    """Raise `OutOfTimeError` in the block at `when` (seconds since the epoch; None for never).

    Without effect outside the main thread, with several ranks, or without POSIX timers.
    """
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
