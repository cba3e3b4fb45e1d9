"""Rows of `.jsonl` and `.txt` files in random places, with no regard to their length.

The files, one after another, are blocks of 64 KiB. Of these, 1,024 drawn at random are searched for
records that begin there, and the rows are drawn evenly from all records found. Every block, and so
every record, is found as often as any other. What is left of a bias is that of a ratio: a record of
a block of k records is drawn less often by about k in all that were found, a thousandth where
blocks are alike. Rows of one block are neighbours, so not every *sample* is as likely as any other.
PostgreSQL's ANALYZE draws in the same two stages (`acquire_sample_rows` in commands/analyze.c).
Accepting records from random places inversely to their length is exact, but takes as many reads a
row as the mean length is multiples of the shortest possible one, 13 bytes of JSON.

The library datasets draws by the number of a row, but copies the file to Arrow first. For 2,000
rows of 1 GB (0.5 million rows; measured beside other work) it took 5 to 7 s of a CPU core, and as
much disk again; the draw of this module 0.4 s, 84 MB read and none written. Of 100 GB the copy
would read and write all. Its streams shuffle the beginning of a file alone, and its errors name no
line.
"""

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, groupby, islice
from random import Random
from typing import BinaryIO

from untrac_exp.data.base import Row
from untrac_exp.data.files import File, decoded, evenly, record
from untrac_exp.data.rows import Columns, parse
from untrac_exp.data.sampling import LONGEST, windows

BLOCK = 2**16
BLOCKS = 1024
"""How many are searched at first: 64 MiB."""


@dataclass(frozen=True)
class TextFiles:
    """Files of lines or documents, sampled as if they were one."""

    files: tuple[File, ...]

    draws = True

    @cached_property
    def size(self) -> int:
        """In bytes."""
        return sum(file.size for file in self.files)

    def draw(self, key: str, columns: Columns, n: int, seed: int) -> list[Row]:
        """`n` rows, drawn without replacement; if there are fewer, all rows in order.

        If the records found are too few, four times as many blocks are searched, and so on.
        """
        last = list(accumulate(-(-file.size // BLOCK) for file in self.files))
        searched = BLOCKS
        while searched < last[-1]:
            drawn = _shuffled(self._places(last, searched, seed), seed)
            rows = (row for place in drawn if (row := self._row(key, columns, *place)))
            if len(found := list(islice(rows, n))) == n:
                return list(windows(found, LONGEST, seed))
            searched *= 4
        records = (file.records(key, columns, paragraphs=True) for file in self.files)
        return evenly(chain.from_iterable(records), columns, n, seed)

    def _places(self, last: Sequence[int], n: int, seed: int) -> list[tuple[int, int]]:
        """(number of a file, byte) of every record that begins in one of `n` blocks.

        last: the number of blocks of each file and those before it.
        """
        random = Random(f"blocks/{seed}").random
        blocks: set[int] = set()
        for end in range(last[-1] - n, last[-1]):  # Floyd's algorithm
            block = int(random() * (end + 1))
            blocks.add(end if block in blocks else block)
        found = []
        for number, group in groupby(sorted(blocks), lambda block: bisect(last, block)):
            file = self.files[number]
            before = last[number - 1] if number else 0
            with file.path.open("rb") as opened:
                for block in group:
                    begins = _beginnings(opened, (block - before) * BLOCK, _is_documents(file))
                    found += [(number, begin) for begin in begins]
        return list(dict.fromkeys(found))

    def _row(self, key: str, columns: Columns, number: int, begin: int) -> Row | None:
        file = self.files[number]
        with file.path.open("rb") as opened:
            raw = _read(opened, begin, _is_documents(file))
        text = decoded(key, file.path, raw, begin)
        if not text.strip():
            return None
        where = f"{key}: {file} byte {begin}"
        return parse(where, record(where, file.path, text, columns), columns)


def _is_documents(file: File) -> bool:
    return file.path.suffix == ".txt"


def _beginnings(file: BinaryIO, start: int, documents: bool) -> list[int]:
    """Bytes at which the records of the block at `start` begin.

    Documents are those after the blank lines that begin in the block. Where none does, it is inside
    a document that is cut into parts, and its first line begins one, unless the file ends in it.
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


def _read(file: BinaryIO, begin: int, document: bool) -> bytes:
    file.seek(begin)
    lines = [file.readline()]
    if document and lines[0].strip():
        while file.tell() - begin <= BLOCK and (line := file.readline()).strip():
            lines.append(line)
    return b"".join(lines)


def _shuffled(items: list[tuple[int, int]], seed: int) -> Iterator[tuple[int, int]]:
    """In random order, which is made as far as it is asked for."""
    random = Random(f"places/{seed}").random
    for i in range(len(items)):
        other = i + int(random() * (len(items) - i))
        items[i], items[other] = items[other], items[i]
        yield items[i]
