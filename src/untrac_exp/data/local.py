"""Own files: `.txt`, `.jsonl`, `.csv` and `.parquet`, by path, glob (`**` too) or directory.

Rows with a text column are plain text; rows with a target column (and perhaps an input column) are
scored on the target alone. A target is set apart from its input by a space if neither has one.
A `.txt` corpus has a document between blank lines; a `.txt` test set has a text a line. Rows whose
text is null or blank are skipped. Corpora are read lazily, so that they need not fit in memory.
"""

import csv
import glob
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from untrac_exp.data.base import Corpus, Row, TestSet

SUFFIXES = (".txt", ".jsonl", ".csv", ".parquet")
Paths = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Columns:
    """Which columns of a file hold what."""

    text: str
    input: str
    target: str
    subset: str | None = None


@dataclass(frozen=True)
class LocalRows:
    """The rows of files, read anew and line by line each time they are iterated."""

    key: str
    files: tuple[Path, ...]
    columns: Columns

    def __iter__(self) -> Iterator[Row]:
        for path in self.files:
            for where, record in _records(self.key, path, self.columns, paragraphs=True):
                if row := _row(where, record, self.columns):
                    yield row


def corpora(
    paths: Paths,
    text_column: str = "text",
    input_column: str = "input",
    target_column: str = "target",
) -> list[Corpus]:
    """One corpus a name, of the files, globs or directories (one or a list) under it.

    Raises `ValueError`, naming key and file, for what cannot be read; what stands further in a
    file than its first text is found when the rows are iterated.
    """
    columns = Columns(text_column, input_column, target_column)
    owner: dict[Path, str] = {}
    found = []
    for name, files in _resolve("corpora.paths", paths).items():
        for path in files:
            other = owner.setdefault(path.resolve(), name)
            if other != name:
                raise ValueError(
                    f"corpora.paths: {path} is in both '{other}' and '{name}'; give each its own"
                )
        rows = LocalRows(f"corpora.paths.{name}", files, columns)
        if next(iter(rows), None) is None:
            raise ValueError(
                f"corpora.paths.{name}: every text in {_list(files)} is blank; add text"
            )
        found.append(Corpus(str(name), rows, _fingerprint(files, columns)))
    return found


def testsets(
    paths: Paths,
    text_column: str = "text",
    input_column: str = "input",
    target_column: str = "target",
    subset_column: str = "subset",
) -> list[TestSet]:
    """One test set a name; its subsets by the subset column, or the one subset `all`."""
    columns = Columns(text_column, input_column, target_column, subset_column)
    found = []
    for name, files in _resolve("testset.paths", paths).items():
        key = f"testset.paths.{name}"
        subsets: dict[str | None, list[Row]] = {}
        for path in files:
            for where, record in _records(key, path, columns, paragraphs=False):
                if row := _row(where, record, columns):
                    value = record.get(subset_column)
                    subset = None if value in (None, "") else str(value)
                    subsets.setdefault(subset, []).append(row)
                    if None in subsets and len(subsets) > 1:
                        raise ValueError(
                            f"{where}: only some rows have a '{subset_column}'; give it to all "
                            "rows or to none"
                        )
        if not subsets:
            raise ValueError(f"{key}: every text in {_list(files)} is blank; add text")
        found.append(TestSet(str(name), {s or "all": rows for s, rows in subsets.items()}))
    return found


def _resolve(key: str, paths: Paths) -> dict[str, tuple[Path, ...]]:
    """The files under each name, sorted, each once, all of a known kind and not empty."""
    if not isinstance(paths, Mapping) or not paths:
        raise ValueError(f"{key} is empty or not a mapping; write {key}='{{a: x.jsonl, b: y.txt}}'")
    resolved = {}
    for name, given in paths.items():
        patterns = [given] if isinstance(given, str) else given
        if not isinstance(patterns, Sequence) or not patterns:
            raise ValueError(f"{key}.{name} is {given!r}; give a path or a list of paths")
        files: dict[Path, None] = {}
        for pattern in patterns:
            files |= dict.fromkeys(_expand(f"{key}.{name}", str(pattern)))
        resolved[str(name)] = tuple(files)
    return resolved


def _expand(key: str, pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        if not files:
            raise ValueError(f"{key}: directory {path} has no file of {', '.join(SUFFIXES)}")
    elif path.is_file():
        files = [path]
    elif glob.has_magic(pattern):
        matches = (Path(match) for match in glob.glob(str(path), recursive=True))
        files = sorted(match for match in matches if match.is_file())
        if not files:
            raise ValueError(f"{key}: no file matches '{pattern}'; check the pattern")
    else:
        raise ValueError(f"{key}: {path} does not exist (from {Path.cwd()}); check the path")
    for file in files:
        if file.suffix not in SUFFIXES:
            raise ValueError(
                f"{key}: {file} ends in '{file.suffix}'; convert it to one of {', '.join(SUFFIXES)}"
            )
        try:
            empty = not file.open("rb").read(1)
        except OSError as error:
            raise ValueError(f"{key}: {file} cannot be read ({error.strerror})") from None
        if empty:
            raise ValueError(f"{key}: {file} is empty; add text or leave it out")
    return files


def _records(
    key: str, path: Path, columns: Columns, paragraphs: bool
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, its values by column) for every record of a file."""
    if path.suffix == ".parquet":
        yield from _parquet(key, path, columns)
    elif path.suffix == ".csv":
        yield from _csv(key, path)
    elif path.suffix == ".jsonl":
        for where, line in _lines(key, path):
            if line.strip():
                yield where, _json(where, line)
    else:
        texts = _paragraphs(key, path) if paragraphs else _lines(key, path)
        for where, text in texts:
            yield where, {columns.text: text.strip("\r\n")}


def _lines(key: str, path: Path) -> Iterator[tuple[str, str]]:
    """Lines with their ends, decoded one by one so that an error can say where it is."""
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{key}: {path} is not UTF-8 at line {number}, byte {offset + error.start}; "
                    "save it as UTF-8"
                ) from None
            offset += len(raw)
            yield (
                f"{key}: {path} line {number}",
                line.removeprefix("\ufeff") if number == 1 else line,
            )


def _paragraphs(key: str, path: Path) -> Iterator[tuple[str, str]]:
    start = ""
    lines: list[str] = []
    for where, line in _lines(key, path):
        if line.strip():
            start = start if lines else where
            lines.append(line)
        elif lines:
            yield start, "".join(lines)
            lines = []
    if lines:
        yield start, "".join(lines)


def _json(where: str, line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON ({error.msg}); write one object a line") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where} is not a JSON object; write one object a line")
    return record


def _csv(key: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    csv.field_size_limit(sys.maxsize)  # the default refuses texts beyond 128 KiB
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


def _parquet(key: str, path: Path, columns: Columns) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = [columns.text, columns.input, columns.target, columns.subset]
            # With none of them there, read all: the error about them then lists what there is.
            chosen = [name for name in names if name in wanted] or names
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=chosen):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{key}: {path} row {number}", record
    except (pyarrow.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{key}: {path} is not readable parquet ({reason}); write it anew"
        ) from None


def _row(where: str, record: Mapping[str, Any], columns: Columns) -> Row | None:
    """The row of a record; None if its text or target is null or blank."""
    if columns.text in record:
        text = _string(where, record, columns.text)
        return Row(text) if text.strip() else None
    if columns.target not in record:
        raise ValueError(
            f"{where} has no column '{columns.text}' or '{columns.target}' but {list(record)}; "
            "set text_column, or input_column and target_column"
        )
    target = _string(where, record, columns.target)
    if not target.strip():
        return None
    context = _string(where, record, columns.input) if columns.input in record else ""
    if context and not context[-1].isspace() and not target[0].isspace():
        target = f" {target}"
    return Row(target, context)


def _string(where: str, record: Mapping[str, Any], column: str) -> str:
    value = record[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(
            f"{where}: column '{column}' holds {type(value).__name__}, not text; make it a string"
        )
    return value


def _fingerprint(files: Sequence[Path], columns: Columns) -> str:
    """sha256 of the files' contents and of how they are read, not of where they lie."""
    digest = hashlib.sha256(repr(columns).encode())
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"\0{path.suffix}:{content}".encode())
    return digest.hexdigest()


def _list(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
