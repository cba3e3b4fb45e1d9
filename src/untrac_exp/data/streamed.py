"""Hub datasets as local paths, `hub:owner/name` or `hub:owner/name@config`, read as a stream.

The part after `hub:` may also be a local copy of a repository.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from untrac_exp.data.base import Row
from untrac_exp.data.files import Record, evenly
from untrac_exp.data.hub import Source
from untrac_exp.data.rows import Columns, parse
from untrac_exp.data.sampling import LONGEST, windows
from untrac_exp.store import fingerprint

PREFIX = "hub:"
BUFFER = 2_000
"""Rows of the shuffle buffer of a sampled stream."""


@dataclass(frozen=True)
class Streamed:
    """A split of a hub dataset; `size` is unknown and taken as large."""

    source: Source

    draws = True
    size = sys.maxsize

    def __str__(self) -> str:
        return f"{PREFIX}{self.source.path}"

    @property
    def identity(self) -> str:
        """Identifier of path, config and split."""
        return f"{self}@{self.source.config}@{self.source.split}"

    def digest(self) -> str:
        """Return the sha256 of the source; nothing is read."""
        return fingerprint(self.source.settings)

    def records(self, key: str, columns: Columns, paragraphs: bool) -> Iterator[Record]:
        """Yield the records in order; `paragraphs` is ignored."""
        yield from self._records(key, self.source.load(streaming=True))

    def draw(self, key: str, columns: Columns, n: int, seed: int) -> list[Row]:
        """Return the first `n` rows of the shuffled files and a shuffle buffer of `BUFFER` rows.

        For a dataset of one file they come from its beginning. If there are no more, all in order.
        """
        stream = self.source.load(streaming=True).shuffle(seed=seed, buffer_size=BUFFER)
        parsed = (parse(where, record, columns) for where, record in self._records(key, stream))
        rows = windows((row for row in parsed if row), LONGEST, seed)
        if len(found := list(islice(rows, n + 1))) > n:
            return found[:n]
        return evenly(self.records(key, columns, paragraphs=True), columns, n, seed)

    def _records(self, key: str, stream: Iterable[Mapping[str, Any]]) -> Iterator[Record]:
        with self.source.explained():
            for number, record in enumerate(stream, 1):
                yield f"{key}: '{self.source.path}' row {number}", record


def named(address: str, split: str, key: str) -> Streamed:
    """Return the dataset at an address, at its main revision.

    key: configuration key of the path, such as `corpora.paths.forum`, for errors.
    """
    path, _, config = address.removeprefix(PREFIX).partition("@")
    if not path:
        raise ValueError(f"{key}: '{address}' has no dataset name; write {PREFIX}owner/name")
    keys = {"path": key, "config": f"@config in {key}", "split": f"{key.split('.')[0]}.split"}
    return Streamed(Source(path, config or None, split, key=key, keys=keys))
