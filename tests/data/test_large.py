"""A corpus larger than memory: 2,000 rows of 2 GB, in a process that measures itself."""

import json
import subprocess
import sys

import pytest

GIB = 2**30
ROWS = 2_000

MEASURED = """
import json, resource, sys
from untrac_exp.data.sources.local import corpora
from untrac_exp.data.sampling import sample_rows

def read():
    return int(open("/proc/self/io").readline().split()[1])

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

corpora({"base": sys.argv[2]})  # what importing and reading any file takes
before = peak(), read()
[corpus] = corpora({"forum": sys.argv[1]})
rows = sample_rows(corpus, int(sys.argv[3]), 0, 4096).rows
texts = {row.target for row in rows}
after = peak(), read()
print(json.dumps([len(rows), len(texts), after[0] - before[0], after[1] - before[1]]))
"""


@pytest.fixture
def forum(tmp_path):
    """2 GB of lines from 40 to 2,000 characters and a few as long as a book; deleted afterwards."""
    lines = [json.dumps({"text": f"post {i} " + "so it is " * (i % 211)}) for i in range(8_000)]
    lines[4_000] = json.dumps({"text": "a long story " * 50_000})
    block = "\n".join(lines).encode() + b"\n"
    path = tmp_path / "forum.jsonl"
    with path.open("wb") as file:
        while file.tell() < 2 * 10**9:
            file.write(block)
    yield path
    path.unlink()


@pytest.mark.slow
def test_two_gigabytes_are_sampled_in_little_memory_without_being_read(forum, tmp_path):
    small = tmp_path / "small.jsonl"
    small.write_text('{"text": "x"}\n')
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, forum, small, str(ROWS)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows, texts, memory, read = json.loads(done.stdout)
    assert rows == ROWS
    assert texts > ROWS * 0.8, "of 8,000 different ones, again and again in the file"
    assert memory < 1.5 * GIB
    assert memory < 0.1 * GIB
    assert read < 0.1 * GIB
