"""Progress of long loops as log lines, at most one every ten seconds."""

import logging
import re
import time

log = logging.getLogger(__name__)

_EVERY_S = 10.0
"""Seconds between log lines."""


class Progress:
    """Callable for the end of every step that logs progress and the estimated time left.

    Args:
        what: label of the log lines.
        total: number of steps; None if unknown.
        done: steps that were done before.
    """

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        self.what, self.total = what, total
        self.first = done
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, detail: str = "") -> None:
        now = time.monotonic()
        if now - self.last < _EVERY_S:
            return
        self.last = now
        if self.total is None:
            log.info("%s: %d%s", self.what, done, detail)
            return
        left = (now - self.start) / max(1, done - self.first) * (self.total - done)
        of = f"{done} of {self.total}, about {duration(left)} left"
        log.info("%s: %s%s", self.what, of, detail)


def duration(seconds: float) -> str:
    """Format seconds as `40 s`, `12 min`, `3.5 h` or `40 d`."""
    for below, unit, length in ((90, "s", 1), (5400, "min", 60), (100 * 3600, "h", 3600)):
        if seconds < below:
            return f"{seconds / length:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86400:.0f} d"


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_duration(key: str, text: object) -> float:
    """Parse '90s', '5min', '2h' or '30d' into seconds.

    Raises:
        ValueError: it is none of these; the message names `key`.
    """
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{key}={text}: not a duration; write it as 90s, 5min or 2h")
    return float(match[1]) * _SECONDS[match[2]]
