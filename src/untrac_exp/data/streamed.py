"""Datasets of the Hugging Face hub by a path, `hub:owner/name` or `hub:owner/name@config`.

What follows `hub:` may be a folder laid out like a repository. Rows are read as a stream.
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
"""Rows from which the next one is drawn, where a stream is sampled."""


@dataclass(frozen=True)
class Streamed:
    """A split of a dataset; `size` is unknown, so it counts as large."""

    source: Source

    draws = True
    size = sys.maxsize

    def __str__(self) -> str:
        return f"{PREFIX}{self.source.path}"

    @property
    def identity(self) -> str:
        """The same for the same data."""
        return f"{self}@{self.source.config}@{self.source.split}"

    def digest(self) -> str:
        """sha256 of where the data come from; nothing is read."""
        return fingerprint(self.source.settings)

    def records(self, key: str, columns: Columns, paragraphs: bool) -> Iterator[Record]:
        """In order; `paragraphs` says nothing about a table."""
        yield from self._records(key, self.source.load(streaming=True))

    def draw(self, key: str, columns: Columns, n: int, seed: int) -> list[Row]:
        """The first `n` rows of the files in random order, through a buffer of `BUFFER` rows.

        So of a dataset of one file they are of its beginning. If there are not more, all in order.
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
    """The dataset at an address, at its main revision.

    key: of the paths, `corpora.paths.forum` say, for errors.
    """
    path, _, config = address.removeprefix(PREFIX).partition("@")
    if not path:
        raise ValueError(f"{key}: '{address}' has no dataset name; write {PREFIX}owner/name")
    keys = {"path": key, "config": f"@config in {key}", "split": f"{key.split('.')[0]}.split"}
    return Streamed(Source(path, config or None, split, key=key, keys=keys))
