"""Progress of long loops as log lines: at most one every ten seconds, so it reads well in a file
and on a cluster, and says nothing about work that is over at once.
"""

import logging
import time

log = logging.getLogger(__name__)


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
        if now - self.last < self.every_s:
            return
        self.last = now
        if self.total is None:
            log.info("%s: %d%s", self.what, done, detail)
            return
        rate = (now - self.start) / max(1, done - self.first)
        left = rate * (self.total - done)
        log.info("%s: %d of %d, about %s left%s", self.what, done, self.total, _time(left), detail)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
