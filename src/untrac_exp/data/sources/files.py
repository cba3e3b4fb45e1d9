"""Records of one file: `.txt`, `.jsonl`, `.csv` or `.parquet`, in order or from random row groups.

Memory holds one record at a time (of parquet, a batch), so a line must fit in it. A document of a
`.txt` file ends at a blank line, or at the first line end after 65,536 characters.

A `.csv` file is sampled in one pass over all of it, about 50 MiB per second: a quoted cell may
contain line ends, so from a random position it cannot be told where a record begins.
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

SMALL = 64 * 2**20
"""Bytes up to which files are read in full to be sampled or hashed."""
_PAGE, _PAGES = 2**16, 16
_GROUPS = 4
_BATCH = 128

Record = tuple[str, Mapping[str, Any]]
"""(key and position, for errors; values by column)."""


@dataclass(frozen=True)
class Records:
    """Records at one place; key: its configuration key, for errors."""

    key: str
    columns: Columns

    draws = True
    """Whether `draw` reads less than all of a large place."""

    def records(self) -> Iterator[Record]:
        """Yield the records in order."""
        raise NotImplementedError

    def draw(self, n: int, seed: int) -> list[Row]:
        """Draw `n` rows uniformly without replacement; if there are fewer, all rows in order."""
        return self.evenly(self.records(), n, seed)

    def evenly(self, records: Iterable[Record], n: int, seed: int) -> list[Row]:
        """Draw as `draw` from a stream of records.

        A plain text longer than `LONGEST` characters is cut to a random window of that size.
        """
        return reservoir(windows(self.parsed(records), LONGEST, seed), n, seed)

    def parsed(self, records: Iterable[Record]) -> Iterator[Row]:
        """Yield the rows of records that have text to score."""
        return (row for where, record in records if (row := parse(where, record, self.columns)))


@dataclass(frozen=True)
class File(Records):
    """An existing, non-empty file.

    documents: whether its records are what is between blank lines, not its lines.
    """

    path: Path
    documents: bool = False

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

    def digest(self) -> str:
        """Return the suffix and the sha256 of the content.

        Above `SMALL` bytes, the hash covers the size, the modification time and 16 evenly spaced
        pages of 64 KiB, including the first and the last.
        """
        with self.path.open("rb") as file:
            if self.size <= SMALL:
                digest = hashlib.file_digest(file, "sha256")
            else:
                digest = hashlib.sha256(f"{self.size} {self.path.stat().st_mtime_ns}".encode())
                for page in range(_PAGES):
                    file.seek(max(0, self.size - _PAGE) * page // (_PAGES - 1))
                    digest.update(file.read(_PAGE))
        return f"{self.path.suffix}:{digest.hexdigest()}"

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield (position, line with its end), decoded one by one so that errors have it."""
        offset = 0
        with self.path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                text = self.decoded(raw, offset, f"line {number}, ")
                yield f"{self.key}: {self} line {number}", text
                offset += len(raw)

    def decoded(self, raw: bytes, offset: int, line: str = "") -> str:
        """Decode UTF-8 bytes at `offset`, without a byte order mark."""
        try:
            return raw.decode().removeprefix("" if offset else "\ufeff")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.key}: {self} is not UTF-8 at {line}byte {offset + error.start}; "
                "save it as UTF-8"
            ) from None


class Text(File):
    """A `.jsonl` or `.txt` file, which `blocks` can sample."""

    def records(self) -> Iterator[Record]:
        for where, text in self._paragraphs() if self.documents else self.lines():
            if text.strip():
                yield where, self.record(where, text)

    def record(self, where: str, text: str) -> Mapping[str, Any]:
        """Parse a line or document into values by column."""
        if self.path.suffix == ".txt":
            return {self.columns.text: text.strip("\r\n")}
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where} is not JSON ({error.msg}); write one object a line"
            ) from None
        if not isinstance(record, dict):
            raise ValueError(f"{where} is not a JSON object; write one object a line")
        return record

    def _paragraphs(self) -> Iterator[tuple[str, str]]:
        start, length = "", 0
        lines: list[str] = []
        for where, line in self.lines():
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


class Csv(File):
    """A `.csv` file with a header."""

    draws = False

    def records(self) -> Iterator[Record]:
        csv.field_size_limit(sys.maxsize)  # the default is 128 KiB
        reader = csv.DictReader((line for _, line in self.lines()), strict=True)
        try:
            for record in reader:
                where = f"{self.key}: {self} line {reader.line_num}"
                if None in record or None in record.values():
                    raise ValueError(
                        f"{where} has not as many cells as the header; quote cells that hold commas"
                    )
                yield where, record
        except csv.Error as error:
            where = f"{self.key}: {self} line {reader.line_num}"
            raise ValueError(f"{where} is not CSV ({error})") from None


class Parquet(File):
    """A `.parquet` file."""

    def records(self, groups: Sequence[int] | None = None) -> Iterator[Record]:
        """Yield the records of some row groups, or of all."""
        with self._open() as file:
            names = file.schema_arrow.names
            # If none exists, read all, so that the error lists the columns.
            chosen = [name for name in names if name in self.columns.names] or names
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            for group in range(len(sizes)) if groups is None else groups:
                number = sum(sizes[:group])
                for batch in file.iter_batches(_BATCH, row_groups=[group], columns=chosen):
                    for values in batch.to_pylist():
                        number += 1
                        yield f"{self.key}: {self} row {number}", values

    def draw(self, n: int, seed: int) -> list[Row]:
        """Draw from random row groups with at least 4 `n` rows in total.

        At least 4 groups unless fewer have `SMALL` bytes; other groups and columns are not read.
        """
        with self._open() as file:
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        random = Random(f"groups/{seed}").random
        chosen: list[int] = []
        n_rows = n_bytes = 0
        for group in sorted(range(len(groups)), key=lambda _: random()):
            if n_rows >= 4 * n and (len(chosen) >= _GROUPS or n_bytes >= SMALL):
                break
            chosen.append(group)
            n_rows += groups[group].num_rows
            n_bytes += groups[group].total_byte_size
        rows = self.evenly(self.records(sorted(chosen)), n, seed)
        return rows if len(rows) == n else super().draw(n, seed)  # too many of them are blank

    @contextmanager
    def _open(self) -> Iterator[pyarrow.parquet.ParquetFile]:
        try:
            # In pieces: otherwise a whole row group, perhaps 1 GB, is in memory.
            with pyarrow.parquet.ParquetFile(
                self.path, buffer_size=2**20, pre_buffer=False
            ) as file:
                yield file
        except (pyarrow.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{self.key}: {self} is not readable parquet ({reason}); write it again"
            ) from None


SUFFIXES = {".txt": Text, ".jsonl": Text, ".csv": Csv, ".parquet": Parquet}
