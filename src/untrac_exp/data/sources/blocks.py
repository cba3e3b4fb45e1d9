"""Two-stage sampling of rows from large `.jsonl` and `.txt` files, independent of row length.

The files are split into blocks of 64 KiB. Of these, 1,024 random ones are searched for records that
begin there, and rows are drawn uniformly from the records found. Each record is equally likely to
be found. The remaining bias is that of a ratio estimator, about 1/1,000 for similar blocks. Rows of
a block are neighbours, so samples are not independent. PostgreSQL's ANALYZE samples in the same way
(`acquire_sample_rows` in commands/analyze.c).
"""

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, groupby, islice
from random import Random
from typing import BinaryIO

from untrac_exp.data.base import Row
from untrac_exp.data.rows import parse
from untrac_exp.data.sampling import LONGEST, windows
from untrac_exp.data.sources.files import Text

BLOCK = 2**16
BLOCKS = 1024
"""Blocks searched at first: 64 MiB."""


def draw(files: Sequence[Text], n: int, seed: int) -> list[Row]:
    """Draw `n` rows without replacement; if there are fewer, return all rows in order.

    If too few records are found, four times as many blocks are searched.
    """
    last = list(accumulate(-(-file.size // BLOCK) for file in files))
    searched = BLOCKS
    while searched < last[-1]:
        drawn = _shuffled(_places(files, last, searched, seed), seed)
        rows = (row for number, begin in drawn if (row := _row(files[number], begin)))
        if len(found := list(islice(rows, n))) == n:
            return list(windows(found, LONGEST, seed))
        searched *= 4
    records = chain.from_iterable(file.records() for file in files)
    return files[0].evenly(records, n, seed)


def _places(files: Sequence[Text], last: Sequence[int], n: int, seed: int) -> list[tuple[int, int]]:
    """Return (file index, byte offset) of each record that begins in one of `n` random blocks.

    last: cumulative number of blocks of the files.
    """
    random = Random(f"blocks/{seed}").random
    blocks: set[int] = set()
    for end in range(last[-1] - n, last[-1]):  # Floyd's algorithm
        block = int(random() * (end + 1))
        blocks.add(end if block in blocks else block)
    found = []
    for number, group in groupby(sorted(blocks), lambda block: bisect(last, block)):
        before = last[number - 1] if number else 0
        with files[number].path.open("rb") as opened:
            for block in group:
                start = (block - before) * BLOCK
                begins = _beginnings(opened, start, files[number].documents)
                found += [(number, begin) for begin in begins]
    return list(dict.fromkeys(found))


def _row(file: Text, begin: int) -> Row | None:
    with file.path.open("rb") as opened:
        opened.seek(begin)
        raw = opened.readline()
        if file.documents and raw.strip():
            while len(raw) <= BLOCK and (line := opened.readline()).strip():
                raw += line
    text = file.decoded(raw, begin)
    where = f"{file.key}: {file} byte {begin}"
    return parse(where, file.record(where, text), file.columns) if text.strip() else None


def _beginnings(file: BinaryIO, start: int, documents: bool) -> list[int]:
    """Return the byte offsets at which records of the block at `start` begin.

    A document begins after a blank line that begins in the block. Without one, the block is inside
    a long document, which is cut into parts: its first line begins one, unless the file ends in it.
    """
    end = start + BLOCK
    file.seek(max(0, start - 1))
    if start:
        file.readline(BLOCK + 1)  # up to where a line begins
    lines, after_blank = [], [] if start else [0]
    while (at := file.tell()) < end and (line := file.readline()):
        if line.strip():
            lines.append(at)
        else:
            after_blank.append(file.tell())
    if not documents:
        return lines
    return after_blank or (lines[:1] if file.tell() >= end else [])


def _shuffled(items: list[tuple[int, int]], seed: int) -> Iterator[tuple[int, int]]:
    """Yield in random order, shuffled lazily."""
    random = Random(f"places/{seed}").random
    for i in range(len(items)):
        other = i + int(random() * (len(items) - i))
        items[i], items[other] = items[other], items[i]
        yield items[i]
