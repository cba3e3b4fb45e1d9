"""Records of one file: `.txt`, `.jsonl`, `.csv` or `.parquet`, in order or from random row groups.

Memory holds one record at a time (of parquet, a batch), so a line must fit in it. A document of a
`.txt` file ends at a blank line, or at the first line end after 65,536 characters.

A `.csv` file is sampled in one pass over all of it: a quoted cell may contain line ends, so from a
random position it cannot be told where a record begins. The sample is uniform, only its rows are in
memory, and about 50 MiB are read per second. (The chunked readers of pandas and pyarrow also read
the whole file. They are faster but do not say in which line an error is.)
"""

import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import pyarrow
import pyarrow.parquet

from untrac_exp.data.base import Row
from untrac_exp.data.rows import Columns, parse
from untrac_exp.data.sampling import LONGEST, reservoir, windows

SUFFIXES = (".txt", ".jsonl", ".csv", ".parquet")
SMALL = 64 * 2**20
"""Bytes up to which files are read in full to be sampled or hashed."""
_PAGE, _PAGES = 2**16, 16
_GROUPS = 4
_BATCH = 128

Record = tuple[str, Mapping[str, Any]]
"""(key and position, for errors; values by column)."""


@dataclass(frozen=True)
class File:
    """An existing, non-empty file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @cached_property
    def size(self) -> int:
        """Size in bytes."""
        return self.path.stat().st_size

    @property
    def identity(self) -> str:
        """The resolved path, the same for all spellings of a path."""
        return str(self.path.resolve())

    @property
    def is_text(self) -> bool:
        """Whether lines are records, so that `blocks` can sample the file."""
        return self.path.suffix in (".jsonl", ".txt")

    @property
    def draws(self) -> bool:
        """Whether `draw` reads less than all of a large file."""
        return self.path.suffix == ".parquet"

    def digest(self) -> str:
        """Return the suffix and the sha256 of the content.

        Above `SMALL` bytes, the hash covers the size, the modification time and 16 evenly spaced
        pages of 64 KiB, including the first and the last.
        """
        with self.path.open("rb") as file:
            if self.size <= SMALL:
                return f"{self.path.suffix}:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            digest = hashlib.sha256(f"{self.size} {self.path.stat().st_mtime_ns}".encode())
            for page in range(_PAGES):
                file.seek(max(0, self.size - _PAGE) * page // (_PAGES - 1))
                digest.update(file.read(_PAGE))
        return f"{self.path.suffix}:{digest.hexdigest()}"

    def records(self, key: str, columns: Columns, paragraphs: bool) -> Iterator[Record]:
        """Yield the records in order. paragraphs: split `.txt` files at blank lines, else lines."""
        if self.path.suffix == ".parquet":
            yield from _parquet(key, self.path, columns)
        elif self.path.suffix == ".csv":
            yield from _csv(key, self.path)
        else:
            documents = paragraphs and self.path.suffix == ".txt"
            texts = _paragraphs if documents else _lines
            for where, text in texts(key, self.path):
                if text.strip():
                    yield where, record(where, self.path, text, columns)

    def draw(self, key: str, columns: Columns, n: int, seed: int) -> list[Row]:
        """Draw `n` rows uniformly without replacement; if there are fewer, all rows in order.

        Parquet: from random row groups with at least 4 `n` rows in total, at least 4 groups unless
        fewer have `SMALL` bytes; other groups and columns are not read. Of other files all is read.
        """
        if not self.draws:
            return evenly(self.records(key, columns, True), columns, n, seed)
        with _open_parquet(key, self.path) as file:
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        random = Random(f"groups/{seed}").random
        order = sorted(range(len(groups)), key=lambda _: random())
        chosen: list[int] = []
        n_rows = n_bytes = 0
        while len(chosen) < len(order) and (
            n_rows < 4 * n or (len(chosen) < _GROUPS and n_bytes < SMALL)
        ):
            chosen.append(order[len(chosen)])
            n_rows += groups[chosen[-1]].num_rows
            n_bytes += groups[chosen[-1]].total_byte_size
        rows: list[Row] = []
        for some in (chosen, order):  # all only if too many of the rows are blank
            if len(rows) < n:
                records = _parquet(key, self.path, columns, sorted(some))
                rows = evenly(records, columns, n, seed)
        return rows


def evenly(records: Iterable[Record], columns: Columns, n: int, seed: int) -> list[Row]:
    """Draw `n` rows of a stream uniformly; if there are no more, return all in order.

    A plain text longer than `LONGEST` characters is cut to a random window of that size.
    """
    parsed = (parse(where, record, columns) for where, record in records)
    rows = (row for row in parsed if row is not None)
    return reservoir(windows(rows, LONGEST, seed), n, seed)


def _lines(key: str, path: Path) -> Iterator[tuple[str, str]]:
    """Yield (position, line with its end), decoded one by one so that errors have a position."""
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            yield f"{key}: {path} line {number}", decoded(key, path, raw, offset, number)
            offset += len(raw)


def decoded(key: str, path: Path, raw: bytes, offset: int, line: int | None = None) -> str:
    """Decode UTF-8 bytes at `offset` of a file, without a byte order mark."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"byte {offset + error.start}"
        raise ValueError(
            f"{key}: {path} is not UTF-8 at {f'line {line}, ' if line else ''}{place}; "
            "save it as UTF-8"
        ) from None
    return text.removeprefix("\ufeff") if offset == 0 else text


def _paragraphs(key: str, path: Path) -> Iterator[tuple[str, str]]:
    start, length = "", 0
    lines: list[str] = []
    for where, line in _lines(key, path):
        blank = not line.strip()
        if lines and (blank or length > LONGEST):
            yield start, "".join(lines)
            lines, length = [], 0
        if not blank:
            start = start if lines else where
            lines.append(line)
            length += len(line)
    if lines:
        yield start, "".join(lines)


def record(where: str, path: Path, text: str, columns: Columns) -> Mapping[str, Any]:
    """Parse a line or document of a `.jsonl` or `.txt` file into values by column."""
    return _json(where, text) if path.suffix == ".jsonl" else {columns.text: text.strip("\r\n")}


def _json(where: str, line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON ({error.msg}); write one object a line") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where} is not a JSON object; write one object a line")
    return record


def _csv(key: str, path: Path) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)  # the default is 128 KiB
    reader = csv.DictReader((line for _, line in _lines(key, path)), strict=True)
    try:
        for record in reader:
            where = f"{key}: {path} line {reader.line_num}"
            if None in record or None in record.values():
                raise ValueError(
                    f"{where} has not as many cells as the header; quote cells that hold commas"
                )
            yield where, record
    except csv.Error as error:
        raise ValueError(f"{key}: {path} line {reader.line_num} is not CSV ({error})") from None


def _parquet(
    key: str, path: Path, columns: Columns, groups: Sequence[int] | None = None
) -> Iterator[Record]:
    """Yield the records of some row groups, or of all."""
    with _open_parquet(key, path) as file:
        names = file.schema_arrow.names
        # If none exists, read all, so that the error lists the columns.
        chosen = [name for name in names if name in columns.names] or names
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        for group in range(len(sizes)) if groups is None else groups:
            number = sum(sizes[:group])
            for batch in file.iter_batches(_BATCH, row_groups=[group], columns=chosen):
                for values in batch.to_pylist():
                    number += 1
                    yield f"{key}: {path} row {number}", values


@contextmanager
def _open_parquet(key: str, path: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    try:
        # In pieces: otherwise a whole row group, perhaps 1 GB, is in memory.
        with pyarrow.parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            yield file
    except (pyarrow.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{key}: {path} is not readable parquet ({reason}); write it again"
        ) from None
