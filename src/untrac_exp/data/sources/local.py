"""People's own data by path: files, folders, globs (including `**`), saved datasets and hub ids.

Formats: `.txt`, `.jsonl`, `.json` (a list, or an object a line), `.csv` and `.tsv`, each also
compressed (`.gz`, `.xz`, `.bz2`, `.zst`), `.parquet` and `.arrow`. A folder means all of these
below it, unless `save_to_disk` of `datasets` wrote it. `hub:owner/name` and
`hub:owner/name@config` are streamed from the Hugging Face hub. `rows` documents the columns;
formats of rows may be mixed in a file. In `.txt` files, corpora have a document between blank
lines, test sets a text per line. Rows without text to score are skipped and counted.

Corpora are read lazily and need not fit in memory. Up to 64 MiB, a sample is drawn from all rows.
Of larger corpora, pieces in random order are read until there are eight times as many rows as
asked for, from which the sample is drawn. A piece is 64 KiB of a `.jsonl` or `.txt` file or of a
saved dataset, a row group of a `.parquet` file, or any other file as a whole. What is uniform:

- Rows of `.jsonl`, `.txt` and saved datasets are equally likely, whatever their length. Those of a
  piece are neighbours, so samples are not independent.
- Pieces above 1 MiB (row groups, files as a whole) contribute their first rows, as many each, so
  that rows of the smaller ones are more likely. But files as a whole (compressed, `.csv`, `.arrow`)
  are read in full, and their rows are equally likely, up to 2 GiB in total.
- Hub datasets come from shuffled files and a shuffle buffer, see `hub`.
"""

import glob
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

from untrac_exp.config.errors import not_text
from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.records import Record, Records
from untrac_exp.data.rows import Columns, parse, subset_of
from untrac_exp.data.sources.hub import PREFIX, HubDataset
from untrac_exp.data.stored import COMPRESSIONS, FORMATS, PIECE, SMALL, Stored, format_of

log = logging.getLogger(__name__)

READ_IN_FULL = 2**31
"""Bytes up to which files that are no pieces themselves are read in full to be sampled."""
SPREAD = 8
"""Rows read per row sampled of a large corpus."""
_SMALL_PIECE = 2**20
"""Bytes up to which all rows of a piece are read."""
_LARGE_PIECES = 32
"""Number of larger pieces whose first rows are read."""


class Texts(list[Any]):
    """Texts or mappings in memory, in the place of a path."""


@dataclass(frozen=True)
class InMemory(Records):
    """Records of `Texts`."""

    texts: Texts

    def __str__(self) -> str:
        return self.key

    def digest(self) -> str:
        return repr(self.texts)

    def records(self, index: int = 0, n: int = 1) -> Iterator[Record]:
        for number, text in enumerate(self.texts, 1):
            where = f"{self.key}: item {number}"
            if not isinstance(text, str | Mapping):
                raise ValueError(f"{where} is a {type(text).__name__}; give text or a mapping")
            yield where, {self.columns.text: text} if isinstance(text, str) else text


Paths = Mapping[str, str | Path | Sequence[str | Path] | Texts]


@dataclass(frozen=True)
class LocalRows:
    """Rows of files, saved datasets or a hub dataset, read again on each iteration."""

    parts: Sequence[Records]

    def __iter__(self) -> Iterator[Row]:
        return (row for *_, row in _parsed(self.parts))

    @property
    def is_large(self) -> bool:
        """Whether `excerpt` reads much less than all."""
        size = sum(part.size for part in self.parts)
        whole = sum(part.size for part in self.parts if part.n_pieces == 1 and part.size > PIECE)
        return size - whole > SMALL or whole > READ_IN_FULL

    def excerpt(self, n: int, seed: int) -> Iterator[Row]:
        """Yield `SPREAD` times `n` rows of random pieces to draw from, or fewer."""
        if isinstance(self.parts[0], HubDataset):
            return self.parts[0].excerpt(n, seed)
        return islice(self._shuffled(SPREAD * n, seed), SPREAD * n)

    def _shuffled(self, n: int, seed: int) -> Iterator[Row]:
        """Yield rows of pieces in random order, of large pieces an equal share of `n`."""
        random = Random(f"pieces/{seed}").random
        pieces = [(part, i) for part in self.parts for i in range(part.n_pieces)]
        share = ceil(n / min(len(pieces), _LARGE_PIECES))
        for part, i in sorted(pieces, key=lambda _: random()):
            rows = part.rows(i, part.n_pieces)
            is_small = part.size <= _SMALL_PIECE * part.n_pieces
            yield from rows if is_small else islice(rows, share)


def corpora(
    paths: Paths,
    text_column: str = "text",
    input_column: str = "input",
    target_column: str = "target",
    messages_column: str = "messages",
    split: str = "train",
    chat_template: bool = False,
) -> list[Corpus]:
    """Return one corpus per name, lazily read.

    Args:
        paths: a path or list of paths by corpus name.
        text_column, input_column, target_column, messages_column: see `rows`.
        split: of saved dataset dictionaries and hub datasets.
        chat_template: see `rows.Columns`.

    Raises:
        ValueError: a path cannot be read or has no text, or is in two corpora. Errors after the
            first text of a corpus are raised when it is read.
    """
    columns = Columns(
        text_column, input_column, target_column, messages_column, chat_template=chat_template
    )
    owners: dict[str, str] = {}
    result = []
    for name, parts in _resolve("corpora", paths, split, columns).items():
        for part in parts:
            owner = owners.setdefault(part.identity, name)
            if owner != name:
                raise ValueError(f"{part} is in both '{owner}' and '{name}'; give each its own")
        rows = LocalRows(parts)
        next(iter(rows))  # raises if there is no text
        content = "\0".join([repr(columns), *(part.digest() for part in parts)])
        mark = hashlib.sha256(content.encode()).hexdigest()
        result.append(Corpus(name, rows, mark, rows.excerpt if rows.is_large else None))
    return result


def testsets(
    paths: Paths,
    text_column: str = "text",
    input_column: str = "input",
    target_column: str = "target",
    subset_column: str = "subset",
    messages_column: str = "messages",
    split: str = "train",
    chat_template: bool = False,
) -> list[TestSet]:
    """Return one test set per name, with a subset per value of the subset column.

    Without that column there is one subset `all`. Other arguments as for `corpora`.
    """
    columns = Columns(
        text_column, input_column, target_column, messages_column, subset_column, chat_template
    )
    result = []
    for name, parts in _resolve("testset", paths, split, columns).items():
        subsets: dict[str | None, list[Row]] = {}
        for where, record, row in _parsed(parts):
            subsets.setdefault(subset_of(where, record, columns), []).append(row)
            if None in subsets and len(subsets) > 1:
                raise ValueError(
                    f"{where}: only some rows have a '{subset_column}'; give it to all rows or to "
                    "none"
                )
        result.append(TestSet(name, {subset or "all": rows for subset, rows in subsets.items()}))
    return result


def _resolve(group: str, paths: Paths, split: str, columns: Columns) -> dict[str, list[Records]]:
    """Return what each name consists of, without repetitions."""
    above = f"{group}.paths"
    if not isinstance(paths, Mapping) or not paths:
        raise ValueError(
            f"{above} is empty or not a mapping; write {above}='{{a: x.jsonl, b: y.txt}}'"
        )
    resolved: dict[str, list[Records]] = {}
    for name, given in paths.items():
        if not isinstance(name, str):
            raise ValueError(f"{above}: {not_text(name)}")
        key = f"{above}.{name}"
        patterns = [given] if isinstance(given, str | Path) else given
        if not isinstance(patterns, Sequence) or not patterns:
            raise ValueError(f"{key} is {given!r}; give a path or a list of paths")
        first = str(patterns[0])
        if isinstance(patterns, Texts):
            resolved[name] = [InMemory(key, columns, patterns)]
        elif first.startswith(PREFIX):
            path, _, config = first.removeprefix(PREFIX).partition("@")
            if not path or len(patterns) > 1:
                raise ValueError(f"{key}: write {PREFIX}owner/name, and nothing else beside it")
            resolved[name] = [HubDataset(key, columns, path, config or None, split)]
        else:
            files = [path for pattern in patterns for path in _expand(key, str(pattern))]
            resolved[name] = [
                Stored(key, columns, path, split, documents=group == "corpora")
                for path in dict.fromkeys(files)
            ]
    return resolved


def _expand(key: str, pattern: str) -> list[Path]:
    """Return the files and saved datasets that a path or pattern names, in sorted order."""
    path = Path(pattern).expanduser()
    if path.is_dir() and not format_of(path):
        paths = [p for p in path.rglob("*") if p.is_file() and format_of(p)]
    elif path.exists():
        paths = [path]
    else:
        matches = map(Path, glob.glob(str(path), recursive=True))
        paths = [match for match in matches if match.is_file() or format_of(match)]
    formats = f"{', '.join(FORMATS)}, or one of the first five with {', '.join(COMPRESSIONS)}"
    if not paths:
        raise ValueError(
            f"{key}: no file at '{pattern}' (from {Path.cwd()}); check the path or pattern; files "
            f"end in {formats}"
        )
    for path in paths:
        if not format_of(path):
            suffix = "".join(path.suffixes[-2:])
            raise ValueError(f"{key}: {path} ends in '{suffix}'; convert it to {formats}")
    return sorted(paths)


def _parsed(parts: Sequence[Records]) -> Iterator[tuple[str, Mapping[str, Any], Row]]:
    """Yield (position, record, row) of the rows with text to score, and log how many have none.

    Raises:
        ValueError: none has.
    """
    key, n_rows, n_blank, first_blank = parts[0].key, 0, 0, ""
    for part in parts:
        for where, record in part.records():
            if row := parse(where, record, part.columns):
                n_rows += 1
                yield where, record, row
            else:
                n_blank += 1
                first_blank = first_blank or where.removeprefix(f"{key}: ")
    if not n_rows:
        names = f"{parts[0]} and {len(parts) - 1} more are" if parts[1:] else f"{parts[0]} is"
        place = f" (such as {first_blank})" if first_blank else ""
        raise ValueError(f"{names} blank{place}; add text or leave it out")
    if n_blank:
        log.info("%s: %d rows without text to score are skipped", key, n_blank)
