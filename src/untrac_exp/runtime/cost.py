"""Cost of a job: wall time, tokens through the model, peak memory."""

import json
import resource
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass
class Meter:
    """Counts wall time, tokens read forward and backward, and peak memory.

    Attributes:
        wall_s: seconds.
        forward_tokens: tokens in forward passes, without padding.
        backward_tokens: tokens in backward passes, without padding. A Hessian-vector product counts
            as two forward and two backward passes.
        peak_rss_bytes: peak resident memory of this process.
        peak_device_bytes: peak memory of the accelerator; 0 without one.
    """

    wall_s: float = 0.0
    forward_tokens: int = 0
    backward_tokens: int = 0
    peak_rss_bytes: int = 0
    peak_device_bytes: int = 0

    def __post_init__(self) -> None:
        self._started = time.monotonic()

    def forward(self, tokens: int) -> None:
        self.forward_tokens += tokens

    def backward(self, tokens: int) -> None:
        """Count a forward and a backward pass over this many tokens."""
        self.forward_tokens += tokens
        self.backward_tokens += tokens

    def stop(self) -> None:
        """Add the time since the meter was created, and record peak memory."""
        self.wall_s += time.monotonic() - self._started
        self.peak_rss_bytes = peak_rss()
        if torch.cuda.is_available():
            self.peak_device_bytes = torch.cuda.max_memory_allocated()

    def add(self, other: "Meter") -> None:
        """Add the cost of a part. Parts run one after another, so peaks are not summed."""
        self.wall_s += other.wall_s
        self.forward_tokens += other.forward_tokens
        self.backward_tokens += other.backward_tokens
        self.peak_rss_bytes = max(self.peak_rss_bytes, other.peak_rss_bytes)
        self.peak_device_bytes = max(self.peak_device_bytes, other.peak_device_bytes)

    def as_dict(self) -> dict[str, float]:
        """Return the fields."""
        return asdict(self)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.as_dict()))

    @staticmethod
    def load(path: Path) -> "Meter":
        return Meter(**json.loads(path.read_text()))


def reset_peaks() -> None:
    """Reset the peak memory counters, where the system supports it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_rss() -> int:
    """Return the peak resident memory of this process since `reset_peaks`, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
