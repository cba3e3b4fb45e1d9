"""Corpora larger than memory: 2 GB each, in a process that measures itself."""

import gzip
import json
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest

MIB = 2**20
ROWS = 2_000

MEASURED = """
import json, resource, sys
from untrac_exp.data.sources import hub, local
from untrac_exp.data.sampling import sample_rows

hub.datasets_library()

def read():
    return int(open("/proc/self/io").readline().split()[1])

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

local.corpora({"base": sys.argv[2]})  # what importing and reading any file takes
before = peak(), read()
[corpus] = local.corpora({"forum": sys.argv[1]})
rows = sample_rows(corpus, int(sys.argv[3]), 0, 4096).rows
texts = {row.target for row in rows}
after = peak(), read()
print(json.dumps([len(rows), len(texts), after[0] - before[0], after[1] - before[1]]))
"""


def texts():
    """8,000 texts from 40 to 2,000 characters and one as long as a book: 7 MB."""
    long = {4_000: "a long story " * 50_000}
    return [long.get(i, f"post {i} " + "so it is " * (i % 211)) for i in range(8_000)]


def write_lines(path):
    block = "".join(json.dumps({"text": text}) + "\n" for text in texts()).encode()
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        for _ in range(2 * 10**9 // len(block)):
            file.write(block)


def write_row_groups(path):
    table = pyarrow.table({"text": texts(), "other": texts()})
    with pyarrow.parquet.ParquetWriter(path, table.schema, compression="none") as file:
        for i in range(2 * 10**9 // table.nbytes):
            start = 317 * i % len(table)  # of a group its first rows are read
            file.write_table(pyarrow.concat_tables([table.slice(start), table.slice(0, start)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write", "bytes_read"),
    [
        ("forum.jsonl", write_lines, 50 * MIB),
        ("forum.jsonl.gz", write_lines, 50 * MIB),
        ("forum.parquet", write_row_groups, 600 * MIB),
    ],
)
def test_two_gigabytes_are_sampled_in_little_memory_without_being_read(
    tmp_path, name, write, bytes_read
):
    path, small = tmp_path / name, tmp_path / "small.jsonl"
    write(path)
    small.write_text('{"text": "x"}\n')
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, path, small, str(ROWS)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    path.unlink()
    rows, distinct, memory, read = json.loads(done.stdout)
    assert rows == ROWS
    assert distinct > ROWS * 0.8, "of 8,000 different ones, again and again in the file"
    assert memory < 150 * MIB
    assert read < bytes_read
