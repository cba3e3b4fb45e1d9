"""Local data by path: files, globs (including `**`), directories, saved datasets and hub ids.

Files are `.txt`, `.jsonl`, `.csv` and `.parquet`; a directory means all of them below it, unless it
was written by `save_to_disk` of datasets. `hub:owner/name` and `hub:owner/name@config` are streamed
from the Hugging Face hub.

`rows` documents the row formats, which may be mixed in a file. In `.txt` files, corpora have a
document between blank lines, test sets a text per line. Rows without text to score are skipped and
counted. Corpora are read lazily and need not fit in memory; for sampling without reading all, see
`draw` in `blocks`, `files`, `saved` and `hub`.
"""

import glob
import hashlib
import logging
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, groupby
from pathlib import Path
from random import Random
from typing import Any

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.rows import Columns, parse, subset_of
from untrac_exp.data.sampling import sample
from untrac_exp.data.sources import blocks
from untrac_exp.data.sources.files import SMALL, SUFFIXES, File, Text
from untrac_exp.data.sources.hub import PREFIX, Streamed, named
from untrac_exp.data.sources.saved import Saved, is_saved

log = logging.getLogger(__name__)

Paths = Mapping[str, str | Sequence[str]]
Part = File | Saved | Streamed


@dataclass(frozen=True)
class LocalRows:
    """Rows of files, folders or a stream, read again on each iteration."""

    parts: Sequence[Part]

    def __iter__(self) -> Iterator[Row]:
        return (row for *_, row in _parsed(self.parts))

    @property
    def is_large(self) -> bool:
        """Whether `draw` reads much less than all."""
        size = sum(part.size for part in self.parts)
        return size > SMALL and any(part.draws for part in self.parts)

    def draw(self, n: int, seed: int) -> list[Row]:
        """Draw `n` rows, in random order; if there are fewer, return all rows in order.

        Rows are distributed over the units in proportion to their bytes, and drawn uniformly within
        each.
        """
        left = {i: size for i, (size, _) in enumerate(self._units)}
        whole: dict[int, list[Row]] = {}  # all rows of units that have fewer than asked
        found: dict[int, list[Row]] = {}
        while left:
            asked = _shares(left, n - sum(map(len, whole.values())), seed)
            found = {i: self._units[i][1](share, seed + i) for i, share in asked.items()}
            short = {i: rows for i, rows in found.items() if len(rows) < asked[i]}
            if not short:
                break
            whole |= short
            left = {i: size for i, size in left.items() if i not in short}
        found |= whole
        rows = [row for i in sorted(found) for row in found[i]]
        return rows if len(rows) < n else sample(rows, n, seed, "draw")

    @cached_property
    def _units(self) -> list[tuple[int, Callable[[int, int], list[Row]]]]:
        """(size, draw) of what is sampled at once; consecutive `.jsonl` and `.txt` files are."""
        units: list[tuple[int, Callable[[int, int], list[Row]]]] = []
        for _, group in groupby(self.parts, lambda part: isinstance(part, Text)):
            parts = list(group)
            if texts := [part for part in parts if isinstance(part, Text)]:
                units.append((sum(text.size for text in texts), partial(blocks.draw, texts)))
            else:
                units += [(part.size, part.draw) for part in parts]
        return units


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
        ValueError: a path cannot be read or has no text, or is in two corpora. Errors beyond the
            first text of a corpus are raised when it is read.
    """
    columns = Columns(
        text_column, input_column, target_column, messages_column, chat_template=chat_template
    )
    owner: dict[str, str] = {}
    found = []
    for name, parts in _resolve("corpora", paths, split, columns).items():
        for part in parts:
            other = owner.setdefault(part.identity, name)
            if other != name:
                raise ValueError(
                    f"corpora.paths: {part} is in both '{other}' and '{name}'; give each its own"
                )
        rows = LocalRows(parts)
        next(iter(rows))  # raises if there is no text
        content = "\0".join([repr(columns), *(part.digest() for part in parts)])
        mark = hashlib.sha256(content.encode()).hexdigest()
        found.append(Corpus(name, rows, mark, rows.draw if rows.is_large else None))
    return found


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
    found = []
    for name, parts in _resolve("testset", paths, split, columns).items():
        subsets: dict[str | None, list[Row]] = {}
        for where, record, row in _parsed(parts):
            subsets.setdefault(subset_of(where, record, columns), []).append(row)
            if None in subsets and len(subsets) > 1:
                raise ValueError(
                    f"{where}: only some rows have a '{subset_column}'; give it to all rows or to "
                    "none"
                )
        found.append(TestSet(name, {s or "all": rows for s, rows in subsets.items()}))
    return found


def _resolve(group: str, paths: Paths, split: str, columns: Columns) -> dict[str, list[Part]]:
    """Return the sorted, distinct, non-empty files, saved datasets or hub datasets by name."""
    above = f"{group}.paths"
    if not isinstance(paths, Mapping) or not paths:
        raise ValueError(
            f"{above} is empty or not a mapping; write {above}='{{a: x.jsonl, b: y.txt}}'"
        )
    resolved: dict[str, list[Part]] = {}
    for name, given in paths.items():
        key = f"{above}.{name}"
        patterns = [given] if isinstance(given, str) else given
        if not isinstance(patterns, Sequence) or not patterns:
            raise ValueError(f"{key} is {given!r}; give a path or a list of paths")
        parts: list[Part] = []
        for pattern in map(str, patterns):
            if not pattern.startswith(PREFIX):
                for path in _expand(key, pattern):
                    if path.is_dir():
                        parts.append(Saved(key, columns, path, split))
                    else:
                        _check(key, path)
                        documents = group == "corpora" and path.suffix == ".txt"
                        parts.append(SUFFIXES[path.suffix](key, columns, path, documents))
            elif len(patterns) == 1:
                parts.append(named(pattern, split, key, columns))
            else:
                raise ValueError(f"{key}: a hub dataset needs a name of its own: {pattern}")
        resolved[str(name)] = list(dict.fromkeys(parts))
    return resolved


def _expand(key: str, pattern: str) -> list[Path]:
    """Return the files and saved datasets that a pattern names."""
    path = Path(pattern).expanduser()
    if path.is_file() or is_saved(path):
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        if not found:
            raise ValueError(f"{key}: directory {path} has no file of {', '.join(SUFFIXES)}")
    elif glob.has_magic(pattern):
        matches = (Path(match) for match in glob.glob(str(path), recursive=True))
        found = sorted(match for match in matches if match.is_file() or is_saved(match))
        if not found:
            raise ValueError(f"{key}: no file matches '{pattern}'; check the pattern")
    else:
        raise ValueError(f"{key}: {path} does not exist (from {Path.cwd()}); check the path")
    return found


def _check(key: str, path: Path) -> None:
    """Raise `ValueError` if a file is empty, unreadable or of another kind."""
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"{key}: {path} ends in '{path.suffix}'; convert it to one of {', '.join(SUFFIXES)}"
        )
    try:
        empty = not path.open("rb").read(1)
    except OSError as error:
        raise ValueError(f"{key}: {path} cannot be read ({error.strerror})") from None
    if empty:
        raise ValueError(f"{key}: {path} is empty; add text or leave it out")


def _shares(sizes: Mapping[int, int], n: int, seed: int) -> Counter[int]:
    """Distribute `n` over the keys in proportion to `sizes`, rounded up or down at random."""
    keys, held = list(sizes), list(accumulate(sizes.values()))
    shift = Random(f"shares/{seed}").random()
    at = (bisect(held, (i + shift) / n * held[-1], hi=len(held) - 1) for i in range(n))
    return Counter(keys[i] for i in at)


def _parsed(parts: Sequence[Part]) -> Iterator[tuple[str, Mapping[str, Any], Row]]:
    """Yield (position, record, row) of the rows with text to score, and log how many have none.

    Raises:
        ValueError: none has.
    """
    key, columns, n_blank, n_found = parts[0].key, parts[0].columns, 0, 0
    place = ""
    for part in parts:
        for where, record in part.records():
            if row := parse(where, record, columns):
                n_found += 1
                yield where, record, row
            else:
                n_blank += 1
                if not place:
                    column = next(name for name in columns.scored if name in record)
                    place = f" ({where.removeprefix(f'{key}: ')}: '{column}' is empty)"
    if not n_found:
        files = f"{parts[0]} and {len(parts) - 1} more" if parts[1:] else str(parts[0])
        raise ValueError(f"{key}: every text in {files} is blank{place}; add text")
    if n_blank:
        log.info("%s: %d rows without text to score are skipped", key, n_blank)
