"""Progress of long loops as log lines: at most one every ten seconds, so it reads well in a file
and on a cluster, and says nothing about work that is over at once.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)


Listener = Callable[[dict[str, Any]], None]
_listeners: list[Listener] = []


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """While this lasts, tell `listener` of every step: what, done, total and left_s, in seconds.

    It is told nothing while another one is inside.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Progress:
    """Call it after every step; it logs what is done and about how long the rest will take.

    total: None where nobody knows.
    """

    def __init__(self, what: str, total: int | None, done: int = 0, every_s: float = 10.0) -> None:
        self.what, self.total, self.every_s = what, total, every_s
        self.first = done
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, detail: str = "") -> None:
        now = time.monotonic()
        left = None
        if self.total is not None:
            left = (now - self.start) / max(1, done - self.first) * (self.total - done)
        if _listeners:
            told = {"what": self.what, "done": done, "total": self.total, "left_s": left}
            _listeners[-1](told)
        if now - self.last < self.every_s:
            return
        self.last = now
        if left is None:
            log.info("%s: %d%s", self.what, done, detail)
            return
        of = f"{done} of {self.total}, about {duration(left)} left"
        log.info("%s: %s%s", self.what, of, detail)


def duration(seconds: float) -> str:
    """As people say it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h)")
_SECONDS = {"s": 1, "min": 60, "h": 3600}


def seconds_of(key: str, text: object) -> float:
    """Seconds of '90s', '5min' or '2h'. ValueError names the key."""
    found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None or float(found[1]) == 0:
        raise ValueError(f"{key}={text}: no time; write it as 90s, 5min or 2h")
    return float(found[1]) * _SECONDS[found[2]]
