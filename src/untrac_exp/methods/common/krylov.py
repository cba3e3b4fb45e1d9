"""Arnoldi iteration: an orthonormal basis of a Krylov space, stored on disk."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from untrac_exp.runtime.progress import Progress
from untrac_exp.stages.hessian import Product

_ROWS = 4
"""Basis vectors in memory at once."""


class Krylov:
    """Orthonormal basis of a Krylov space of a matrix H (P, P).

    rows: Q' (n, P), memory-mapped from disk, of which the first `size` are computed.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.size = rows, 0

    def build(self, start: Tensor, multiply: Iterable[Product]) -> np.ndarray:
        """Compute all rows from a vector `start` (P,) and return Q'HQ (n, n).

        multiply: v -> H v, one for each iteration; they may be different estimates of H.
        """
        n = len(self.rows)
        projected = np.zeros((n, n))
        progress = Progress("krylov space: iterations", n)
        generator = torch.Generator().manual_seed(0)
        vector = start
        for i, product in zip(range(n), multiply, strict=False):
            self.rows[i] = vector / vector.norm()
            self.size = i + 1
            image = product(self.rows[i].to(start))
            vector, parts = self._orthogonal(image)
            projected[: i + 1, i] = parts.cpu()
            progress(i + 1)
            if i + 1 == n:
                break
            if vector.norm() > 1e-6 * image.norm():
                projected[i + 1, i] = float(vector.norm())
            else:  # the space is invariant under H: continue from a random vector outside it
                other = torch.randn(len(start), generator=generator).to(start)
                vector, _ = self._orthogonal(other)
        return projected

    def coordinates(self, vector: Tensor) -> Tensor:
        """Return Q' v (size,)."""
        return torch.cat([rows @ vector for rows in self._blocks(vector)])

    def combine(self, weights: Tensor, like: Tensor) -> Tensor:
        """Return Q w (P,), with the device and dtype of `like`."""
        total = torch.zeros_like(like)
        for part, rows in zip(weights.split(_ROWS), self._blocks(like), strict=True):
            total += part @ rows
        return total

    def _orthogonal(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return a vector (P,) minus its projection onto the space, and its coordinates (size,)."""
        total = vector.new_zeros(self.size)
        for _ in range(2):  # once is not enough in floating point; twice is
            parts = self.coordinates(vector)
            vector = vector - self.combine(parts, vector)
            total += parts
        return vector, total

    def _blocks(self, like: Tensor) -> Iterator[Tensor]:
        return (rows.to(like) for rows in self.rows[: self.size].split(_ROWS))


@contextmanager
def krylov(n: int, size: int, dtype: torch.dtype) -> Iterator[Krylov]:
    """Allocate a basis of n vectors of `size` numbers in a temporary file."""
    with tempfile.TemporaryDirectory(prefix="untrac-") as folder:
        file = str(Path(folder) / "basis")
        yield Krylov(torch.from_file(file, shared=True, size=n * size, dtype=dtype).view(n, size))
