"""Records (values by column) of files, with their position for errors.

Lines are parsed here, since the JSON builder of `datasets` infers the columns' types from the first
10 MB of a file: it fails at a later row with another column, and turns texts that look like dates
into dates. Tables are read by `pyarrow`, in batches.

Memory holds one record at a time, or a batch of a table; only an array in a `.json` file is read
whole. A document of a `.txt` file ends at a blank line, or at the first line end after `LONGEST`
characters.
"""

import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.ipc
import pyarrow.parquet

from untrac_exp.data.rows import Record, Records

LINES = (".txt", ".jsonl", ".json", ".csv", ".tsv")
FORMATS = (*LINES, ".parquet", ".arrow")
COMPRESSIONS = (".gz", ".xz", ".bz2", ".zst")
LONGEST = 2**16
SMALL = 64 * 2**20
"""Bytes up to which the whole content is hashed."""
PIECE = 2**16
"""Bytes of the pieces of a `.jsonl` file that can be read alone."""
MOST_PIECES = 2**20
_BATCH = 128
_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of compressed files, whatever their names."""

Line = tuple[str, str]
"""(configuration key and position, text)."""


def format_of(path: Path) -> str:
    """Return the suffix that names a file's format, in lower case; "" if it cannot be read."""
    suffix = path.suffix.lower()
    if suffix in COMPRESSIONS:
        suffix = Path(path.stem).suffix.lower()
        return suffix if suffix in LINES else ""
    return suffix if suffix in FORMATS else ""


@dataclass(frozen=True)
class File(Records):
    """A file.

    Attributes:
        path: the file.
        documents: whether the records of a `.txt` file are what is between blank lines.
    """

    path: Path
    documents: bool = False

    def __str__(self) -> str:
        return f"{self.key}: {self.path}"

    @cached_property
    def format(self) -> str:
        return format_of(self.path)

    @property
    def size(self) -> int:
        return self.state[2]

    @property
    def identity(self) -> object:
        return self.state[:2]

    @cached_property
    def state(self) -> tuple[int, ...]:
        """What differs after an edit: inode, size, and times of modification and change."""
        return self._state()

    def _state(self) -> tuple[int, ...]:
        now = self.path.stat()
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns

    def digest(self) -> str:
        """Return the sha256 of format and content, of a file above `SMALL` bytes of its state."""
        content = hashlib.sha256(f"{self.format} {self.path.suffix}".encode())
        if self.size > SMALL:
            content.update(repr(self.state).encode())
        else:
            with self.path.open("rb") as file:
                content.update(hashlib.file_digest(file, "sha256").digest())
        return content.hexdigest()

    @cached_property
    def compression(self) -> str | None:
        """The name of its compression in `fsspec`, by its first bytes or else by its name."""
        with self.path.open("rb") as file:
            start = file.read(8)
        names = (name for magic, name in _MAGIC.items() if start.startswith(magic))
        return next(names, "infer" if self.path.suffix.lower() in COMPRESSIONS else None)

    @cached_property
    def n_pieces(self) -> int:
        if self.format == ".parquet":
            return max(1, pyarrow.parquet.read_metadata(self.path).num_row_groups)
        is_divisible = self.format == ".jsonl" and self.compression is None
        return max(1, min(self.size // PIECE, MOST_PIECES)) if is_divisible else 1

    def records(self, index: int = 0, n: int = 1) -> Iterator[Record]:
        yield from self._records(index, n)
        if self._state() != self.state:  # else the tokens of one content have the hash of another
            raise ValueError(f"{self} was changed while it was read; run the command again")

    def _records(self, index: int, n: int) -> Iterator[Record]:
        if self.format in (".parquet", ".arrow"):
            yield from self._table(index, n)
            return
        lines = self._lines(self.size * index // n, self.size * (index + 1) // n)
        if self.format in (".csv", ".tsv"):
            yield from self._cells(lines)
        elif self.format == ".txt":
            for where, text in _documents(lines) if self.documents else lines:
                if text.strip():
                    yield where, {self.columns.text: text.strip("\r\n")}
        else:
            for where, value in self._values(lines):
                if not isinstance(value, dict):
                    raise ValueError(f"{where} is not a JSON object; write one object a line")
                yield where, value

    def _lines(self, start: int, stop: int) -> Iterator[Line]:
        """Yield the lines that begin in a range of bytes; all lines of a compressed file."""
        offset, position = start, ""
        stop = stop if self.compression is None else sys.maxsize
        try:
            with fsspec.open(self.path, "rb", compression=self.compression) as file:
                readline = file.readline  # looked up once: there are millions of calls
                if start:
                    file.seek(start - 1)
                    offset += len(readline(stop - start + 1)) - 1
                for number in count(1):
                    raw = readline() if offset < stop else b""
                    if not raw:
                        break
                    position = f"byte {offset}" if start else f"line {number}"
                    text = raw.decode().removeprefix("" if offset else "\ufeff")
                    yield f"{self} {position}", text
                    offset += len(raw)
        except UnicodeDecodeError as error:
            where = f"{position}, byte {offset + error.start}"
            raise ValueError(f"{self} is not UTF-8 at {where}; save it as UTF-8") from None
        except ValueError:
            raise
        except Exception as error:  # each compression has errors of its own
            raise ValueError(f"{self} cannot be read ({_reason(error)}); write it again") from None

    def _cells(self, lines: Iterable[Line]) -> Iterator[Record]:
        csv.field_size_limit(sys.maxsize)  # the default is 128 KiB
        texts = (text for _, text in lines)
        header = next(texts, "")
        separators = "\t" if self.format == ".tsv" else ",;\t"
        headers = {by: next(csv.reader([header], delimiter=by), []) for by in separators}
        fitting = (by for by, names in headers.items() if self.columns.known(names))
        separator = next(fitting, separators[0])
        names = headers[separator]
        self._check_columns(names)
        reader = csv.DictReader(chain([header], texts), strict=True, delimiter=separator)
        try:
            for record in reader:
                if None in record or None in record.values():
                    raise csv.Error("not as many cells as the header; quote cells that hold commas")
                yield f"{self} line {reader.line_num}", record
        except csv.Error as error:
            raise ValueError(f"{self} line {reader.line_num} is not CSV: {error}") from None

    def _values(self, lines: Iterator[Line]) -> Iterator[tuple[str, Any]]:
        """Yield (position, value) of the lines, or of the items of an array."""
        for where, text in lines:
            if self.format == ".json" and text.lstrip().startswith("["):
                items = _json(str(self), "".join([text, *(line for _, line in lines)]))
                for number, item in enumerate(items, 1):
                    is_text = isinstance(item, str)
                    yield f"{self} item {number}", {self.columns.text: item} if is_text else item
            elif text.strip():
                yield where, _json(where, text)

    def _table(self, index: int, n: int) -> Iterator[Record]:
        """Yield the records of a table; a piece is a row group."""
        piece = f"row group {index + 1}, " if n > 1 else ""
        read = self._parquet if self.format == ".parquet" else self._arrow
        try:
            slices = (
                batch.slice(start, _BATCH).to_pylist()
                for batch in read([index] if n > 1 else None)
                for start in range(0, len(batch), _BATCH)
            )
            records = (record for some in slices for record in some)
            for number, record in enumerate(records, 1):
                yield f"{self} {piece}row {number}", record
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise ValueError(
                f"{self} is not readable as {self.format[1:]} ({_reason(error)}); write it again"
            ) from None

    def _parquet(self, groups: list[int] | None) -> Iterator[pyarrow.RecordBatch]:
        with pyarrow.parquet.ParquetFile(self.path, buffer_size=2**20, pre_buffer=False) as file:
            columns = self._check_columns(file.schema_arrow.names)
            yield from file.iter_batches(_BATCH, row_groups=groups, columns=columns)

    def _arrow(self, groups: list[int] | None) -> Iterator[pyarrow.RecordBatch]:
        """Yield the batches of an IPC file or stream."""
        with ExitStack() as stack:
            file = stack.enter_context(pyarrow.memory_map(str(self.path)))
            try:
                reader = stack.enter_context(pyarrow.ipc.open_file(file))
                batches = map(reader.get_batch, range(reader.num_record_batches))
            except pyarrow.ArrowInvalid:
                batches = stack.enter_context(pyarrow.ipc.open_stream(file))
            for batch in batches:
                yield batch.select(self._check_columns(batch.schema.names))

    def _check_columns(self, names: list[str]) -> list[str]:
        """Return the columns that are read, all if none is known, for the error.

        Raises:
            ValueError: one of them is there twice.
        """
        known = self.columns.known(names)
        if twice := [name for name in known if names.count(name) > 1]:
            raise ValueError(f"{self} has two columns '{twice[0]}'; rename or remove one")
        return known or names


def _documents(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield (position, text) of what is between blank lines."""
    start, text = "", ""
    for where, line in lines:
        if text and (not line.strip() or len(text) > LONGEST):
            yield start, text
            text = ""
        if line.strip():
            start, text = start if text else where, text + line
    yield start, text


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f" line {error.lineno}" if "\n" in text.strip() else ""
        raise ValueError(
            f"{where}{line} is not JSON ({error.msg}); write one object a line"
        ) from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())
