"""Local data by path: files, globs (including `**`), directories, saved datasets and hub ids.

Files are `.txt`, `.jsonl`, `.csv` and `.parquet`; a directory means all of them below it, unless it
was written by `save_to_disk` of datasets. `hub:owner/name` and `hub:owner/name@config` are streamed
from the Hugging Face hub.

`rows` documents the row formats, which may be mixed in a file. In `.txt` files, corpora have a
document between blank lines, test sets a text per line. Rows without text to score are skipped and
counted. Corpora are read lazily and need not fit in memory; for sampling without reading all, see
`draw` in `blocks`, `files`, `saved` and `streamed`.
"""

import glob
import hashlib
import logging
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.blocks import TextFiles
from untrac_exp.data.files import SMALL, SUFFIXES, File
from untrac_exp.data.rows import Columns, parse, subset_of
from untrac_exp.data.sampling import sample
from untrac_exp.data.saved import Saved, is_saved
from untrac_exp.data.streamed import PREFIX, Streamed, named

log = logging.getLogger(__name__)

Paths = Mapping[str, str | Sequence[str]]
Part = File | Saved | Streamed


@dataclass(frozen=True)
class LocalRows:
    """Rows of files, folders or a stream, read again on each iteration."""

    key: str
    parts: tuple[Part, ...]
    columns: Columns

    def __iter__(self) -> Iterator[Row]:
        for *_, row in _parsed(self.key, self.parts, self.columns, paragraphs=True):
            yield row

    @property
    def is_large(self) -> bool:
        """Whether `draw` reads much less than all."""
        size = sum(unit.size for unit in self._units)
        return size > SMALL and any(unit.draws for unit in self._units)

    @cached_property
    def _units(self) -> list[Part | TextFiles]:
        """Parts that are sampled separately; consecutive `.jsonl` and `.txt` files are one."""
        units: list[Part | TextFiles] = []
        for part in self.parts:
            if not isinstance(part, File) or not part.is_text:
                units.append(part)
            elif units and isinstance(units[-1], TextFiles):
                units[-1] = TextFiles((*units[-1].files, part))
            else:
                units.append(TextFiles((part,)))
        return units

    def draw(self, n: int, seed: int) -> list[Row]:
        """Draw `n` rows, in random order; if there are fewer, return all rows in order.

        Rows are distributed over the units in proportion to their bytes, and drawn uniformly within
        each.
        """
        whole: dict[int, list[Row]] = {}  # all rows of units that have fewer than asked
        while True:
            rest = [i for i in range(len(self._units)) if i not in whole]
            left = n - sum(map(len, whole.values()))
            shares = _shares([self._units[i].size for i in rest], left, seed)
            asked = {i: share for i, share in zip(rest, shares, strict=True) if share}
            found = {
                i: self._units[i].draw(self.key, self.columns, share, seed + i)
                for i, share in asked.items()
            }
            short = {i: rows for i, rows in found.items() if len(rows) < asked[i]}
            whole |= short
            if not short or len(whole) == len(self._units):
                break
        found |= whole
        rows = [row for i in sorted(found) for row in found[i]]
        return rows if len(rows) < n else sample(rows, n, seed, "draw")


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
    for name, parts in _resolve("corpora.paths", paths, split).items():
        for part in parts:
            other = owner.setdefault(part.identity, name)
            if other != name:
                raise ValueError(
                    f"corpora.paths: {part} is in both '{other}' and '{name}'; give each its own"
                )
        rows = LocalRows(f"corpora.paths.{name}", parts, columns)
        if next(iter(rows), None) is None:
            raise _all_blank(f"corpora.paths.{name}", parts, columns)
        draw = rows.draw if rows.is_large else None
        found.append(Corpus(str(name), rows, _fingerprint(parts, columns), draw))
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
    for name, parts in _resolve("testset.paths", paths, split).items():
        key = f"testset.paths.{name}"
        subsets: dict[str | None, list[Row]] = {}
        for where, record, row in _parsed(key, parts, columns, paragraphs=False):
            subsets.setdefault(subset_of(where, record, columns), []).append(row)
            if None in subsets and len(subsets) > 1:
                raise ValueError(
                    f"{where}: only some rows have a '{subset_column}'; give it to all rows or to "
                    "none"
                )
        if not subsets:
            raise _all_blank(key, parts, columns)
        found.append(TestSet(str(name), {s or "all": rows for s, rows in subsets.items()}))
    return found


def _resolve(key: str, paths: Paths, split: str) -> dict[str, tuple[Part, ...]]:
    """Return the sorted, distinct, non-empty files, saved datasets or hub datasets by name."""
    if not isinstance(paths, Mapping) or not paths:
        raise ValueError(f"{key} is empty or not a mapping; write {key}='{{a: x.jsonl, b: y.txt}}'")
    resolved = {}
    for name, given in paths.items():
        patterns = [given] if isinstance(given, str) else given
        if not isinstance(patterns, Sequence) or not patterns:
            raise ValueError(f"{key}.{name} is {given!r}; give a path or a list of paths")
        parts: dict[Part, None] = {}
        for pattern in map(str, patterns):
            if pattern.startswith(PREFIX):
                if len(patterns) > 1:
                    raise ValueError(
                        f"{key}.{name}: a hub dataset needs a name of its own: {pattern}"
                    )
                parts[named(pattern, split, f"{key}.{name}")] = None
            else:
                parts |= dict.fromkeys(_expand(f"{key}.{name}", pattern, split))
        resolved[str(name)] = tuple(parts)
    return resolved


def _expand(key: str, pattern: str, split: str) -> list[File | Saved]:
    path = Path(pattern).expanduser()
    if path.is_dir() and is_saved(path):
        found = [path]
    elif path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        if not found:
            raise ValueError(f"{key}: directory {path} has no file of {', '.join(SUFFIXES)}")
    elif path.is_file():
        found = [path]
    elif glob.has_magic(pattern):
        matches = (Path(match) for match in glob.glob(str(path), recursive=True))
        found = sorted(match for match in matches if match.is_file() or is_saved(match))
        if not found:
            raise ValueError(f"{key}: no file matches '{pattern}'; check the pattern")
    else:
        raise ValueError(f"{key}: {path} does not exist (from {Path.cwd()}); check the path")
    split_key = f"{key.split('.')[0]}.split"
    return [Saved(p, split, split_key) if p.is_dir() else _file(key, p) for p in found]


def _file(key: str, path: Path) -> File:
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
    return File(path)


def _shares(sizes: Sequence[int], n: int, seed: int) -> list[int]:
    """Distribute `n` in proportion to `sizes`, rounded up or down at random."""
    held = list(accumulate(sizes))
    shift = Random(f"shares/{seed}").random()
    at = (bisect(held, (i + shift) / n * held[-1], hi=len(held) - 1) for i in range(n))
    counts = Counter(at)
    return [counts[i] for i in range(len(sizes))]


def _fingerprint(parts: Sequence[Part], columns: Columns) -> str:
    """Return the sha256 of the contents (see `digest`) and the columns, but not of the paths."""
    digest = hashlib.sha256(repr(columns).encode())
    for part in parts:
        digest.update(f"\0{part.digest()}".encode())
    return digest.hexdigest()


def _parsed(
    key: str, parts: Sequence[Part], columns: Columns, paragraphs: bool
) -> Iterator[tuple[str, Mapping[str, Any], Row]]:
    """Yield (position, record, row) of the rows with text to score, and log how many have none."""
    blank = 0
    for part in parts:
        for where, record in part.records(key, columns, paragraphs):
            if row := parse(where, record, columns):
                yield where, record, row
            else:
                blank += 1
    if blank:
        log.info("%s: %d rows without text to score are skipped", key, blank)


def _all_blank(key: str, parts: Sequence[Part], columns: Columns) -> ValueError:
    records = (record for part in parts for record in part.records(key, columns, paragraphs=True))
    where, record = next(records, ("", {}))
    empty = next((name for name in columns.scored if name in record), None)
    place = f" ({where.removeprefix(f'{key}: ')}: '{empty}' is empty)" if empty else ""
    return ValueError(f"{key}: every text in {_list(parts)} is blank{place}; add text")


def _list(parts: Sequence[Part]) -> str:
    return str(parts[0]) if len(parts) == 1 else f"{parts[0]} and {len(parts) - 1} more"
