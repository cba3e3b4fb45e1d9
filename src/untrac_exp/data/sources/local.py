"""People's own data by path: files, folders, globs (including `**`), saved datasets and hub ids.

Formats: `.txt`, `.jsonl`, `.json` (a list, or an object a line), `.csv` (also with semicolons) and
`.tsv`, each also compressed (gzip, xz, bzip2, zstd), `.parquet` and `.arrow`. A folder means all of
these below it, and one that `save_to_disk` of `datasets` wrote, its data. Each file is read once,
whatever links lead to it; hidden files and other formats are ignored, and the log says which.
`hub:owner/name` and `hub:owner/name@config` are streamed from the Hugging Face hub, with the
settings of `HubDataset`. `rows`
documents the columns; formats of rows may be mixed in a file. In `.txt` files, corpora have a
document between blank lines, test sets a text per line. Rows without text to score are skipped and
counted.

Corpora are read lazily and need not fit in memory. Up to 64 MiB, a sample is drawn from all rows,
each equally likely. A larger corpus is cut into pieces: 64 KiB of a `.jsonl` file, a row group of a
`.parquet` file, any other file as a whole. Pieces in random order are read in full, at least 64 of
them (or all) and until there are eight times as many rows as asked for, of which the sample is
drawn. So a row is equally likely wherever it stands. Of data sorted by 20 topics of equal size, a
sample misses a topic with a probability of 4 % or less; but rows of a piece are neighbours, so
samples are not independent. Hub datasets come from shuffled files and a shuffle buffer, see `hub`.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from untrac_exp.config.errors import not_text
from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.files import SMALL, File
from untrac_exp.data.paths import find_files
from untrac_exp.data.rows import Columns, Record, Records, parse, subset_of
from untrac_exp.data.sources.hub import PREFIX, HubDataset

log = logging.getLogger(__name__)

SPREAD = 8
"""Rows read per row sampled of a large corpus."""
LEAST_PIECES = 64
"""Pieces read of a large corpus, if it has as many."""
_HUB = ("revision", "seed", "buffer_size", "documents")
"""Settings of `HubDataset` beside a path."""


class Texts(list[Any]):
    """Texts or mappings in memory, in the place of a path."""


@dataclass(frozen=True)
class InMemory(Records):
    """Records of `Texts`, or of a `Dataset` of `datasets`."""

    texts: Iterable[Any]

    def __str__(self) -> str:
        return self.key

    def records(self, index: int = 0, n: int = 1) -> Iterator[Record]:
        for number, text in enumerate(self.texts, 1):
            where = f"{self.key}: item {number}"
            if not isinstance(text, str | Mapping):
                raise ValueError(f"{where} is a {type(text).__name__}; give text or a mapping")
            yield where, {self.columns.text: text} if isinstance(text, str) else text


Paths = Mapping[str, Any]
"""By name: a path or a list of them, `Texts`, a `Dataset` or `DataFrame`; or a mapping of one of
these at `path` and of settings for it alone, such as `text_column`."""


@dataclass(frozen=True)
class LocalRows:
    """Rows of files, saved datasets or a hub dataset, read again on each iteration."""

    parts: Sequence[Records]
    reading: dict[str, Any]

    def __iter__(self) -> Iterator[Row]:
        return (row for *_, row in _parsed(self.parts, self.reading))

    def excerpt(self, n: int, seed: int) -> Iterator[Row]:
        """Yield the rows of random pieces to draw `n` from."""
        if isinstance(self.parts[0], HubDataset):
            yield from islice(LocalRows([self.parts[0].shuffled(seed)], self.reading), n)
            return
        random = Random(f"pieces/{seed}").random
        pieces = [(part, i) for part in self.parts for i in range(part.n_pieces)]
        count = 0
        for number, (part, i) in enumerate(sorted(pieces, key=lambda _: random()), 1):
            for where, record in part.records(i, part.n_pieces):
                if row := parse(where, record, part.columns):
                    count += 1
                    yield row
            if number >= LEAST_PIECES and count >= SPREAD * n:
                break
        self.reading.update(rows=count, pieces=f"{number} of {len(pieces)}")


def corpora(
    paths: Paths,
    text_column: str = "text",
    input_column: str = "input",
    target_column: str = "target",
    messages_column: str = "messages",
    split: str = "train",
    group: str = "corpora",
) -> list[Corpus]:
    """Return one corpus per name, lazily read.

    Args:
        paths: see `Paths`.
        text_column, input_column, target_column, messages_column: see `rows`.
        split: of saved dataset dictionaries and hub datasets.
        group: name of the key above `paths`, for messages.

    Raises:
        ValueError: a path cannot be read or has no text, or is in two corpora. Errors after the
            first text of a corpus, and those of the hub, are raised when it is read.
    """
    columns = Columns(text_column, input_column, target_column, messages_column)
    owners: dict[object, str] = {}
    result = []
    # by name, so that results do not depend on the order in which they are given
    for name, (parts, reading) in sorted(_resolve(group, paths, split, columns).items()):
        for part in parts:
            owner = owners.setdefault(part.identity, name)
            if owner != name:
                raise ValueError(f"{part} is in both '{owner}' and '{name}'; give each its own")
        rows = LocalRows(parts, reading)
        if not isinstance(parts[0], HubDataset):  # not streamed if the store has its tokens
            next(iter(rows))  # raises if there is no text
        digests = [part.digest() for part in parts]
        content = "\0".join([repr(parts[0].columns), *filter(None, digests)])
        mark = hashlib.sha256(content.encode()).hexdigest() if all(digests) else None
        is_large = sum(part.size for part in parts) > SMALL
        excerpt = rows.excerpt if is_large else None
        result.append(Corpus(name, rows, mark, excerpt, reading))
    return result


def testsets(
    paths: Paths,
    text_column: str = "text",
    input_column: str = "input",
    target_column: str = "target",
    subset_column: str = "subset",
    messages_column: str = "messages",
    split: str = "train",
) -> list[TestSet]:
    """Return one test set per name, with a subset per value of the subset column.

    Without that column there is one subset `all`. Other arguments as for `corpora`.
    """
    columns = Columns(text_column, input_column, target_column, messages_column, subset_column)
    result = []
    for name, (parts, reading) in _resolve("testset", paths, split, columns).items():
        subsets: dict[str | None, list[Row]] = {}
        for where, record, row in _parsed(parts, reading):
            subsets.setdefault(subset_of(where, record, parts[0].columns), []).append(row)
            if None in subsets and len(subsets) > 1:
                raise ValueError(
                    f"{where}: only some rows have a '{subset_column}'; give it to all rows or to "
                    "none"
                )
        result.append(TestSet(name, {subset or "all": rows for subset, rows in subsets.items()}))
    return result


def _resolve(
    group: str, paths: Paths, split: str, columns: Columns
) -> dict[str, tuple[list[Records], dict[str, Any]]]:
    """Return what each name consists of, without repetitions, and what is known of its reading."""
    above = f"{group}.paths"
    if not isinstance(paths, Mapping) or not paths:
        raise ValueError(
            f"{above} is empty or not a mapping; write {above}='{{a: x.jsonl, b: y.txt}}'"
        )
    resolved: dict[str, tuple[list[Records], dict[str, Any]]] = {}
    for name, given in paths.items():
        if not isinstance(name, str):
            raise ValueError(f"{above}: {not_text(name)}")
        key, own, own_split = f"{above}.{name}", columns, split
        of_hub: dict[str, Any] = {}
        if isinstance(given, Mapping):
            own, own_split, of_hub = _own_settings(key, given, columns, split)
            given = given.get("path")
        if hasattr(given, "to_dict") and hasattr(given, "notna"):  # a DataFrame
            given = Texts(given.astype(object).where(given.notna(), None).to_dict("records"))
        if (isinstance(given, Texts) and given) or hasattr(given, "column_names"):  # a Dataset
            resolved[name] = [InMemory(key, own, given)], {}
            continue
        patterns = [given] if isinstance(given, str | Path) else given
        if not isinstance(patterns, Sequence) or not patterns:
            raise ValueError(
                f"{key}={given!r} is no path; give a path (in quotes if it reads as a number or as "
                "true) or a list of paths"
            )
        first = str(patterns[0])
        if first.startswith(PREFIX):
            path, _, config = first.removeprefix(PREFIX).partition("@")
            if not path or len(patterns) > 1:
                raise ValueError(f"{key}: write {PREFIX}owner/name, and nothing else beside it")
            resolved[name] = [HubDataset(key, own, path, config or None, own_split, **of_hub)], {}
        elif of_hub:
            raise ValueError(f"{key}.{min(of_hub)} is only for {PREFIX}owner/name; leave it out")
        else:
            is_corpus = group != "testset"
            files, ignored = find_files(key, [str(pattern) for pattern in patterns], own_split)
            parts = [File(key, own, path, documents=is_corpus) for path in files]
            resolved[name] = list(parts), {"files": len(parts), "ignored": ignored}
    return resolved


def _own_settings(
    key: str, given: Mapping[str, Any], columns: Columns, split: str
) -> tuple[Columns, str, dict[str, Any]]:
    """Return columns, split and hub settings of what sets its own beside its path."""
    names = {f"{name}_column": name for name in ("text", "input", "target", "messages", "subset")}
    of_hub = {name: given[name] for name in _HUB if name in given}
    own = {name: given[name] for name in names if name in given}
    known = ["path", "split", *names, *_HUB]
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"{key}: there is no '{unknown[0]}'; it takes {', '.join(known)}")
    columns = replace(columns, **{names[name]: value for name, value in own.items()})
    return columns, given.get("split", split), of_hub


def _parsed(
    parts: Sequence[Records], reading: dict[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], Row]]:
    """Yield (position, record, row) of the rows with text to score, and log how many have none.

    Raises:
        ValueError: none has.
    """
    key, first_blank = parts[0].key, ""
    reading |= {"rows": 0, "characters": 0, "skipped": 0}
    for part in parts:
        for where, record in part.records():
            if row := parse(where, record, part.columns):
                reading["rows"] += 1
                reading["characters"] += len(row.input) + len(row.target)
                yield where, record, row
            else:
                reading["skipped"] += 1
                first_blank = first_blank or where.removeprefix(f"{key}: ")
    if not reading["rows"]:
        names = f"{parts[0]} and {len(parts) - 1} more are" if parts[1:] else f"{parts[0]} is"
        place = f" (such as {first_blank})" if first_blank else ""
        raise ValueError(f"{names} blank{place}; add text or leave it out")
    if reading["skipped"]:
        log.info("%s: %d rows without text to score are skipped", key, reading["skipped"])
