"""Samples against counts, whole files and the bytes that were read."""

import gzip
import json
from collections import Counter
from pathlib import Path

import datasets
import numpy
import pandas
import pytest
from scipy import stats

from untrac_exp.data import files
from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.sampling import reservoir, sample_rows
from untrac_exp.data.sources import local


def corpus(n=100, **other):
    return Corpus("c", [Row(f"text {i}") for i in range(n)], "print", **other)


def test_a_small_corpus_comes_whole_and_in_order():
    for n in (100, 101):
        assert sample_rows(corpus(), n, 3).rows == corpus().rows


def test_a_sample_has_no_repeats_and_is_the_seeds():
    a, b, c = (sample_rows(corpus(), 30, seed).rows for seed in (0, 0, 1))
    assert a == b != c
    assert len(set(a)) == 30
    assert set(a) < set(corpus().rows)
    assert a != sorted(a, key=corpus().rows.index), "the first rows of a sample are a sample"


def test_every_item_of_a_stream_is_as_likely_as_any_other():
    counts = Counter(i for seed in range(2_000) for i in reservoir(iter(range(20)), 5, seed))
    assert stats.chisquare([counts[i] for i in range(20)]).pvalue > 0.01
    first = Counter(reservoir(iter(range(20)), 5, seed)[0] for seed in range(2_000))
    assert stats.chisquare([first[i] for i in range(20)]).pvalue > 0.01


def test_the_fingerprint_follows_source_size_seed_and_window():
    marks = {
        sample_rows(corpus(), 3, 0).fingerprint,
        sample_rows(corpus(), 3, 1).fingerprint,
        sample_rows(corpus(), 4, 0).fingerprint,
        sample_rows(corpus(), 3, 0, 99).fingerprint,
        sample_rows(Corpus("c", corpus().rows, "other"), 3, 0).fingerprint,
    }
    assert len(marks) == 5
    assert sample_rows(Corpus("c", corpus().rows), 3, 0).fingerprint is None
    assert sample_rows(corpus(), 3, 0).fingerprint == sample_rows(corpus(), 3, 0).fingerprint


# --------------------------------------------------------------------------------------- windows
BOOK = " ".join(f"word{i}" for i in range(1_000))


def test_a_long_text_comes_as_a_window_of_whole_words():
    books = Corpus("c", [Row(BOOK)] * 500)
    rows = sample_rows(books, 400, 0, 60).rows
    words = set(BOOK.split())
    starts = []
    for row in rows:
        assert len(row.target) <= 60
        assert len(row.target) > 30
        assert set(row.target.split()) <= words
        starts.append(BOOK.index(row.target.split()[0] + " ") / len(BOOK))
    assert stats.kstest(starts, "uniform").pvalue > 0.01


def test_a_few_long_texts_are_cut_into_windows_that_make_them_up():
    rows = sample_rows(Corpus("c", [Row(BOOK), Row("short")]), 1_000, 0, 60).rows
    assert "".join(row.target for row in rows) == BOOK + "short"
    assert max(len(row.target) for row in rows) <= 60
    fewer = sample_rows(Corpus("c", [Row(BOOK), Row("short")]), 20, 0, 60).rows
    assert len(set(fewer)) == 20
    assert set(fewer) < set(rows)


def test_a_text_without_spaces_is_cut_too():
    rows = sample_rows(Corpus("c", [Row("x" * 100)]), 9, 0, 30).rows
    assert [len(row.target) for row in rows] == [30, 30, 30, 10]


def test_what_has_a_context_and_what_is_short_is_kept_whole():
    rows = [Row(BOOK, "Write a book."), Row("short")]
    assert sample_rows(Corpus("c", rows), 2, 0, 60).rows == rows
    assert sample_rows(Corpus("c", [Row(BOOK)]), 1, 0).rows == [Row(BOOK)]


# ------------------------------------------------------------------------------------ large files
@pytest.fixture
def large(monkeypatch):
    """Files count as large above 1,000 bytes, and have pieces of 64 bytes."""
    monkeypatch.setattr(files, "PIECE", 64)
    monkeypatch.setattr(local, "SMALL", 1_000)


def numbered(start, n):
    return [f"text {i} " + "x" * (i % 7) for i in range(start, start + n)]


def write(path, texts, group=10):
    """group: rows of a group of a parquet file."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    if path.suffix == ".jsonl":
        path.write_text(lines)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".txt":
        path.write_text("\n\n".join(f"{text}\nsecond line" for text in texts))
    elif path.suffix == ".csv":
        pandas.DataFrame({"text": texts}).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pandas.DataFrame({"text": texts, "other": texts}).to_parquet(path, row_group_size=group)
    else:
        datasets.Dataset.from_dict({"text": texts, "other": texts}).save_to_disk(path)
    return path


def opened(path, **other) -> Corpus:
    [found] = local.corpora({"a": str(path)}, **other)
    return found


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv", "a.parquet", "saved", "a.jsonl.gz"])
def test_a_large_file_is_sampled_without_repeats_by_its_seed(tmp_path, large, name):
    found = opened(write(tmp_path / name, numbered(0, 500)))
    assert found.excerpt is not None
    every = list(found.rows)
    a, b, c = (sample_rows(found, 60, seed).rows for seed in (0, 0, 1))
    assert a == b != c
    assert len(a) == len(set(a)) == 60
    assert set(a) < set(every)
    assert a != sorted(a, key=every.index)
    assert sample_rows(found, 501, 0).rows == every, "in order"
    assert set(sample_rows(found, 500, 0).rows) == set(every)
    assert len(sample_rows(found, 499, 0).rows) == 499


def frequencies(found, n, seeds):
    """How often each row is drawn, n at a time, in the order of the corpus."""
    counts = Counter(row for seed in range(seeds) for row in sample_rows(found, n, seed).rows)
    return [counts[row] for row in found.rows]


@pytest.mark.parametrize("order", ["mixed", "sorted", "two files"])
@pytest.mark.parametrize("suffix", [".jsonl", ".txt"])
def test_the_length_of_a_row_makes_no_difference(tmp_path, large, monkeypatch, suffix, order):
    """Texts of 5 and of 400 characters, of which a file has as many."""
    monkeypatch.setattr(local, "SPREAD", 4)
    lengths = numpy.repeat([5, 400], 150)
    if order == "mixed":
        numpy.random.default_rng(0).shuffle(lengths)
    texts = [f"{i} ".ljust(length, "x") for i, length in enumerate(lengths)]
    records = [t + "\n\n" if suffix == ".txt" else json.dumps({"text": t}) + "\n" for t in texts]
    cut = 150 if order == "two files" else 300
    (tmp_path / f"a{suffix}").write_text("".join(records[:cut]))
    if records[cut:]:
        (tmp_path / f"b{suffix}").write_text("".join(records[cut:]))
    counts = numpy.array(frequencies(opened(tmp_path), 25, 60))
    assert stats.chisquare(counts).pvalue > 0.01
    assert stats.chisquare([counts[lengths == 5].sum(), counts[lengths == 400].sum()]).pvalue > 0.01


def test_rows_of_row_groups_are_as_likely_as_each_other(tmp_path, large):
    found = opened(write(tmp_path / "a.parquet", numbered(0, 100)))
    assert stats.chisquare(frequencies(found, 10, 50)).pvalue > 0.01


def test_files_share_a_sample_by_their_rows_and_none_comes_short(tmp_path, large):
    for i, n in enumerate((100, 300, 1_600)):
        write(tmp_path / f"{i}.jsonl", numbered(i * 10_000, n))
    write(tmp_path / "few.jsonl", ["text 90000" + "x" * 20_000])
    found = opened(tmp_path)
    rows = sample_rows(found, 200, 0).rows
    counts = Counter(int(row.target.split()[1].rstrip("x")) // 10_000 for row in rows)
    rest = 200 - counts[9]
    expected = [rest * share for share in (0.05, 0.15, 0.8)]
    assert stats.chisquare([counts[i] for i in range(3)], expected).pvalue > 0.01
    assert len(rows) == len(set(rows)) == 200
    assert len(set(sample_rows(found, 1_995, 0).rows)) == 1_995
    assert sample_rows(found, 9_999, 0).rows == list(found.rows)


def test_a_line_that_fills_the_file_is_read_once_not_again_and_again(tmp_path, large):
    path = tmp_path / "a.txt"
    path.write_text(BOOK)
    rows = sample_rows(opened(path), 50, 0, 60).rows
    assert len(set(rows)) == 50
    assert all(row.target in BOOK for row in rows)


def test_blank_records_are_never_drawn(tmp_path, large):
    path = tmp_path / "a.jsonl"
    records = ['{"text": ""}', "", '{"text": "fine %d"}', '{"text": null}', " "]
    path.write_text("\n".join(r % i if "%" in r else r for i in range(100) for r in records))
    rows = sample_rows(opened(path), 90, 0).rows
    assert len(set(rows)) == 90
    assert all(row.target.startswith("fine") for row in rows)


def test_a_broken_record_of_a_large_file_is_named_by_its_byte(tmp_path, large):
    path = tmp_path / "a.jsonl"
    good = '{"text": "x"}\n'
    path.write_text(good + '{"text": \n' * 200)
    with pytest.raises(ValueError, match=r"a.jsonl byte \d+ is not JSON .*one object a line"):
        sample_rows(opened(path), 5, 0)
    path.write_bytes(good.encode() + b'{"text": "\xe9"}\n' * 200)
    with pytest.raises(ValueError, match=r"a.jsonl is not UTF-8 at byte .*\d+; save it as UTF-8"):
        sample_rows(opened(path), 5, 0)


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts the bytes that Linux reads")
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_little_of_a_large_file_is_read(tmp_path, large, monkeypatch, suffix):
    monkeypatch.setattr(files, "PIECE", 2**12)
    monkeypatch.setattr(local, "LEAST_PIECES", 4)
    path = tmp_path / f"a{suffix}"
    generator = numpy.random.default_rng(0)
    texts = [generator.bytes(4_000).hex() for _ in range(2_000)]  # cannot be compressed much
    found = opened(write(path, texts, group=20))
    before = bytes_read()
    assert len(sample_rows(found, 10, 0).rows) == 10
    assert bytes_read() - before < 0.1 * path.stat().st_size


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "a.txt", "a.csv", "one.parquet", "a.parquet"]
)
def test_a_sample_of_sorted_data_sees_most_of_its_topics(tmp_path, monkeypatch, name):
    """20 topics one after another, 8 MB in all."""
    monkeypatch.setattr(local, "SMALL", 2**14)
    texts = [f"topic {i // 1_000} {i} " + "so it is " * 45 for i in range(20_000)]
    path = write(tmp_path / name, texts, None if name == "one.parquet" else 100)
    found = opened(path)
    assert found.excerpt is not None
    for seed in range(3):
        rows = sample_rows(found, 600, seed).rows
        counts = Counter(row.target.split()[1] for row in rows)
        assert len(rows) == 600
        assert len(counts) >= 17
        assert max(counts.values()) < 150
