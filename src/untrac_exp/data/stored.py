"""Records (values by column) of files and saved datasets, with their position for errors.

`.arrow` files and folders of `save_to_disk` are read by `datasets`, and `.parquet` by `pyarrow` in
batches. Files of lines are parsed line by line, since the JSON builder of `datasets` infers the
columns' types from the first 10 MB of a file: it fails at a later row with another column, and
turns texts that look like dates into dates.

Memory holds one record at a time, or a batch of a table; only an array in a `.json` file is read
whole. A document of a `.txt` file ends at a blank line, or at the first line end after `LONGEST`
characters.
"""

import csv
import glob
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet

from untrac_exp.data.records import Record, Records, datasets_library

LINES = (".txt", ".jsonl", ".json", ".csv", ".tsv")
FORMATS = (*LINES, ".parquet", ".arrow")
COMPRESSIONS = (".gz", ".xz", ".bz2", ".zst")
SAVED = "saved"
LONGEST = 2**16
SMALL = 64 * 2**20
"""Bytes up to which the whole content is hashed."""
PIECE = 2**16
"""Bytes of the pieces of a large file that can be read alone."""
MOST_PIECES = 2**20
_PAGES = 16
_BATCH = 128

Line = tuple[str, str]
"""(configuration key and position, text)."""


def format_of(path: Path) -> str:
    """Return `SAVED`, or the suffix that names a file's format, or "" if it cannot be read."""
    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return SAVED
    if path.suffix in COMPRESSIONS:
        return suffix if (suffix := Path(path.stem).suffix) in LINES else ""
    return path.suffix if path.suffix in FORMATS else ""


@dataclass(frozen=True)
class Stored(Records):
    """A file, or a folder written by `save_to_disk`.

    Attributes:
        path: the file or folder.
        split: the split to read if a folder holds a dictionary of datasets.
        documents: whether the records of a `.txt` file are what is between blank lines.
    """

    path: Path
    split: str = "train"
    documents: bool = False

    def __str__(self) -> str:
        return f"{self.key}: {self.path}"

    @cached_property
    def format(self) -> str:
        return format_of(self.path)

    @cached_property
    def files(self) -> list[Path]:
        if self.format != SAVED:
            return [self.path]
        return sorted(self.path.glob("*.arrow")) or sorted((self.path / self.split).glob("*.arrow"))

    @cached_property
    def size(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    @property
    def identity(self) -> str:
        return f"{self.path.resolve()}@{self.split if self.format == SAVED else ''}"

    def digest(self) -> str:
        """Return the sha256 of format and content.

        Of a file above `SMALL` bytes, the hash covers the size, the modification time and 16 evenly
        spaced pages of 64 KiB, including the first and the last.
        """
        content = hashlib.sha256(f"{self.format} {self.path.suffix}".encode())
        for path in self.files:
            state = path.stat()
            with path.open("rb") as file:
                if state.st_size <= SMALL:
                    content.update(hashlib.file_digest(file, "sha256").digest())
                    continue
                content.update(f"{state.st_size} {state.st_mtime_ns}".encode())
                for page in range(_PAGES):
                    file.seek((state.st_size - PIECE) * page // (_PAGES - 1))
                    content.update(file.read(PIECE))
        return content.hexdigest()

    @cached_property
    def n_pieces(self) -> int:
        if self.format == ".parquet":
            return max(1, pyarrow.parquet.read_metadata(self.path).num_row_groups)
        is_divisible = self.format == SAVED or self.path.suffix in (".txt", ".jsonl")
        return max(1, min(self.size // PIECE, MOST_PIECES)) if is_divisible else 1

    def records(self, index: int = 0, n: int = 1) -> Iterator[Record]:
        if self.format in (".parquet", ".arrow", SAVED):
            yield from self._rows(index, n)
            return
        stop = self.size * (index + 1) // n if n > 1 else sys.maxsize
        documents = self.documents and self.format == ".txt"
        lines = self._lines(self.size * index // n, stop, LONGEST if documents else 0)
        if self.format in (".csv", ".tsv"):
            yield from self._cells(lines)
        elif self.format == ".txt":
            texts = _documents(lines) if documents else lines
            if documents and index:  # leave out the rest of a document, unless it is all
                texts = chain([*islice(texts, 2)][-1:], texts)
            for where, text in texts:
                if text.strip():
                    yield where, {self.columns.text: text.strip("\r\n")}
        else:
            for where, value in self._values(lines):
                if not isinstance(value, dict):
                    raise ValueError(f"{where} is not a JSON object; write one object a line")
                yield where, value

    def _lines(self, start: int, stop: int, rest: int) -> Iterator[Line]:
        """Yield the lines that begin in a range of bytes, and then up to a blank line.

        rest: limit of the latter in bytes. A line after a blank one at `stop` belongs to it too.
        """
        offset, is_blank, position = start, False, ""
        try:
            with fsspec.open(self.path, "rb", compression="infer") as file:
                readline = file.readline  # looked up once: there are millions of calls
                if start:
                    file.seek(start - 1)
                    offset += len(readline(stop - start + 1)) - 1
                for number in count(1):
                    limit = stop + (min(rest, 1) if is_blank else rest)
                    raw = readline() if offset < limit else b""
                    if not raw:
                        break
                    position = f"byte {offset}" if start else f"line {number}"
                    text = raw.decode().removeprefix("" if offset else "\ufeff")
                    yield f"{self} {position}", text
                    offset, is_blank = offset + len(raw), not text.strip()
        except UnicodeDecodeError as error:
            where = f"{position}, byte {offset + error.start}"
            raise ValueError(f"{self} is not UTF-8 at {where}; save it as UTF-8") from None
        except ValueError:
            raise
        except Exception as error:  # each compression has errors of its own
            raise ValueError(f"{self} cannot be read ({_reason(error)}); write it again") from None

    def _cells(self, lines: Iterable[Line]) -> Iterator[Record]:
        csv.field_size_limit(sys.maxsize)  # the default is 128 KiB
        separator = "," if self.format == ".csv" else "\t"
        reader = csv.DictReader((line for _, line in lines), strict=True, delimiter=separator)
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

    def _rows(self, index: int, n: int) -> Iterator[Record]:
        """Yield the records of a table."""
        piece = f"piece {index + 1} of {n}, " if n > 1 else ""
        try:
            if self.format == ".parquet":
                rows = self._parquet(index, n)
            else:
                dataset = self._saved if self.format == SAVED else self._arrow()
                dataset = dataset.select_columns(self.columns.among(dataset.column_names))
                rows = dataset.shard(n, index)
            for number, record in enumerate(rows, 1):
                yield f"{self} {piece}row {number}", record
        except (OSError, KeyError, pyarrow.ArrowInvalid) as error:
            kind = "a saved dataset" if self.format == SAVED else self.format[1:]
            raise ValueError(
                f"{self} is not readable as {kind} ({_reason(error)}); write it again"
            ) from None

    def _parquet(self, index: int, n: int) -> Iterator[Mapping[str, Any]]:
        # Not by datasets: it holds a whole row group, perhaps 1 GB, and its threads, if not all is
        # read, may abort the process at its end.
        with pyarrow.parquet.ParquetFile(self.path, buffer_size=2**20, pre_buffer=False) as file:
            columns = self.columns.among(file.schema_arrow.names)
            for group in [index] if n > 1 else range(file.num_row_groups):
                for batch in file.iter_batches(_BATCH, row_groups=[group], columns=columns):
                    yield from batch.to_pylist()

    def _arrow(self) -> Any:
        files = glob.escape(str(self.path))
        return datasets_library().load_dataset(
            "arrow", data_files=files, split="train", streaming=True
        )

    @cached_property
    def _saved(self) -> Any:
        dataset = datasets_library().load_from_disk(str(self.path), keep_in_memory=False)
        if not isinstance(dataset, dict):
            return dataset
        if self.split not in dataset:
            raise ValueError(
                f"{self} has no split '{self.split}' but {', '.join(dataset)}; "
                f"set {self.key.split('.')[0]}.split"
            )
        return dataset[self.split]


def _documents(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield (position, text) of what is between blank lines, or before the first one."""
    start, text = "", ""
    for number, (where, line) in enumerate(chain(lines, [("", "")])):
        is_blank = not line.strip()
        if (text or not number) and (is_blank or len(text) > LONGEST):
            yield start, text
            text = ""
        if not is_blank:
            start, text = start if text else where, text + line


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
