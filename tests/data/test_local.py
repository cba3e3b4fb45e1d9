"""Every format, compression and kind of path against the records that were written."""

import bz2
import gzip
import itertools
import json
import logging
import lzma
import os
import tracemalloc
from pathlib import Path

import datasets
import pandas
import pyarrow.ipc
import pyarrow.parquet
import pytest
from backports import zstd
from omegaconf import OmegaConf

from untrac_exp.data.base import Row, Turn
from untrac_exp.data.fingerprint import corpus_fingerprint
from untrac_exp.data.sources import local

RECORDS = [
    {"text": 'with "quotes", commas\nand two lines'},
    {"text": "grüße ☃"},
    {"text": "   "},
    {"text": "2024-01-01 10:00:00"},
]
EXPECTED = [Row(RECORDS[i]["text"]) for i in (0, 1, 3)]
FRAME = pandas.DataFrame(RECORDS)
LINES = [json.dumps(record) for record in RECORDS]
CONTENTS = {
    ".jsonl": "\n".join(LINES),
    ".json": f"[{', '.join(LINES)}]",
    ".csv": FRAME.to_csv(index=False),
    ".tsv": FRAME.to_csv(index=False, sep="\t"),
    ".txt": "\n\n".join(record["text"] for record in RECORDS),
}
COMPRESSIONS = {
    "": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
    ".zst": lambda content: b"".join(zstd.compress(content[i : i + 9]) for i in range(0, 999, 9)),
}  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name: str, content: str | bytes) -> str:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return write


def rows(paths, **columns) -> dict[str, list[Row]]:
    return {corpus.name: list(corpus.rows) for corpus in local.corpora(paths, **columns)}


def in_testset(paths, **options):
    [found] = local.testsets({"t": paths}, **options)
    return dict(found.subsets)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("suffix", CONTENTS)
@pytest.mark.parametrize("path", ["d/a{}", "d", "d/**/*", "*/a{}"])
def test_the_same_rows_from_every_file_of_lines(write, suffix, compression, path):
    ending = suffix + compression
    write(f"d/a{ending}", COMPRESSIONS[compression](CONTENTS[suffix].encode()))
    assert rows({"a": path.format(ending)}) == {"a": EXPECTED}
    if suffix != ".txt":
        assert in_testset(path.format(ending)) == {"all": EXPECTED}


@pytest.mark.parametrize("path", ["d/a{}", "d", "d/**/*", "*/a{}"])
@pytest.mark.parametrize("kind", ["snappy", "gzip", "zstd", "new_stream", "new_file"])
def test_the_same_rows_from_every_table(write, kind, path):
    table = pyarrow.Table.from_pylist(RECORDS).append_column("rest", [[b"x"] * len(RECORDS)])
    suffix = ".arrow" if kind.startswith("new") else ".parquet"
    if "**" not in path:
        write("d/other.md", "not of any known format")
    Path("d").mkdir(exist_ok=True)
    if suffix == ".arrow":
        with getattr(pyarrow.ipc, kind)(f"d/a{suffix}", table.schema) as file:
            file.write_table(table, max_chunksize=2)
    else:
        pyarrow.parquet.write_table(table, f"d/a{suffix}", compression=kind, row_group_size=2)
    assert rows({"a": path.format(suffix)}) == {"a": EXPECTED}


def test_json_may_be_an_array_of_texts_over_lines_or_an_object_a_line(write):
    write("a.json", "\ufeff" + json.dumps([record["text"] for record in RECORDS], indent=2))
    write("b.json", "\n" + "\n".join(LINES))
    assert rows({"a": "a.json", "b": "b.json"}) == {"a": EXPECTED, "b": EXPECTED}


def test_what_is_compressed_is_known_by_its_content_and_a_csv_by_its_header(write):
    write("a.jsonl", gzip.compress(b'{"text": "x"}'))
    write("b.csv", 'id;text\n1;"a, b"\n')
    write("c.csv", "note,note,text\n1,2,x\n")
    found = rows({"a": "a.jsonl", "b": "b.csv", "c": "c.csv"})
    assert found == {"a": [Row("x")], "b": [Row("a, b")], "c": [Row("x")]}


def test_a_row_of_another_kind_after_megabytes_is_read(write):
    """The JSON builder of datasets fails there."""
    lines = [json.dumps({"text": "x" * 1000, "more": None})] * 12_000
    write("late.jsonl", "\n".join([*lines, '{"text": "last", "more": {"a": 1}, "other": 2}']))
    assert rows({"a": "late.jsonl"})["a"][-1] == Row("last")


def test_text_files_are_paragraphs_for_corpora_and_lines_for_test_sets(write):
    write("t.txt", "\ufeffone\r\ntwo\r\n\r\n \r\nthree")
    assert rows({"t": "t.txt"})["t"] == [Row("one\r\ntwo"), Row("three")]
    assert in_testset("t.txt") == {"all": [Row("one"), Row("two"), Row("three")]}


def test_globs_and_directories_are_sorted_and_each_file_is_read_once(write):
    for name in ("d/2.txt", "d/1.txt", "d/deep/er/3.txt", "d/notes.md"):
        write(name, Path(name).stem)
    write("[d]*.txt", "magic")
    expected = [Row("1"), Row("2"), Row("3")]
    assert rows({"d": "d"})["d"] == expected
    assert rows({"d": "d/**/*.txt"})["d"] == expected
    assert rows({"d": ["d/*.txt", "d/1.txt", "d/deep"]})["d"] == expected
    assert rows(OmegaConf.create({"d": ["d/1.txt", "d/2.txt", "d/deep"]}))["d"] == expected
    assert rows({"d": Path("[d]*.txt")})["d"] == [Row("magic")]


def test_a_folder_is_read_in_every_format_and_says_what_it_leaves(write, caplog):
    write("d/part-0.jsonl", '{"text": "0"}')
    write("d/part-1.jsonl.gz", gzip.compress(b'{"text": "1"}'))
    write("d/part-2.json", '[{"text": "2"}]')
    write("d/part-3.JSONL", '{"text": "3"}\n{"text": ""}')
    write("d/part-4.tsv", "text\n4\n")
    write("d/.hidden.jsonl", '{"text": "hidden"}')
    write("d/.git/x.jsonl", '{"text": "hidden"}')
    write("d/sub/metadata.jsonl", '{"text": "sub"}')
    write("d/notes.md", "notes")
    with caplog.at_level(logging.INFO):
        [corpus] = local.corpora({"a": "d"})
        assert [row.target for row in corpus.rows] == ["0", "1", "2", "3", "4", "sub"]
    assert corpus.reading == {
        "files": 6, "rows": 6, "characters": 8, "skipped": 1,
        "ignored": {"hidden": ["d/.hidden.jsonl"], "of another format": ["d/notes.md"]},
    }  # fmt: skip
    said = caplog.text
    assert "corpora.paths.a: 1 files ignored, hidden (.hidden.jsonl)" in said
    assert "corpora.paths.a: 1 files ignored, of another format (notes.md)" in said
    assert "corpora.paths.a: 1 rows without text to score are skipped" in said


@pytest.mark.parametrize("path", ["d", "d/**/*.jsonl", ["d/a.jsonl", "d/link.jsonl"], "to_d"])
def test_a_file_is_read_once_whatever_links_lead_to_it(write, path):
    write("d/a.jsonl", '{"text": "once"}')
    Path("d/link.jsonl").symlink_to("a.jsonl")
    Path("d/loop").symlink_to(".")
    os.link("d/a.jsonl", "d/z.jsonl")
    Path("to_d").symlink_to("d")
    [corpus] = local.corpora({"a": path})
    assert list(corpus.rows) == [Row("once")]
    assert corpus.reading["files"] == 1
    assert any("link.jsonl" in name for name in corpus.reading["ignored"]["read by another name"])


def test_columns_and_split_of_one_corpus(write, saved):
    write("a.jsonl", '{"body": "x", "text": "y"}')
    write("b.jsonl", '{"text": "z"}')
    own = {"path": "a.jsonl", "text_column": "body"}
    assert rows({"a": own, "b": "b.jsonl"}) == {"a": [Row("x")], "b": [Row("z")]}
    assert len(rows({"a": {"path": ["both"], "split": "test"}})["a"]) == 3


def test_what_is_in_memory_is_read_like_files():
    table = {"text": ["one", None, "two"], "subset": ["a", "a", "b"]}
    for given in (datasets.Dataset.from_dict(table), pandas.DataFrame(table)):
        assert rows({"a": given}) == {"a": [Row("one"), Row("two")]}
        assert in_testset(given) == {"a": [Row("one")], "b": [Row("two")]}
    texts = local.Texts(["one", {"text": "two", "subset": True}, {"completion": ""}])
    assert rows({"a": texts}) == {"a": [Row("one"), Row("two")]}
    assert in_testset(local.Texts(texts[1:])) == {"true": [Row("two")]}
    marks = {corpus_fingerprint(local.corpora({name: texts})[0]) for name in "ab"}
    assert len(marks) == 1
    assert corpus_fingerprint(local.corpora({"a": local.Texts(["one"])})[0]) not in marks


def test_targets_are_separated_from_their_input(write):
    pairs = [("who?", "me"), ("who? ", "me"), ("who?", "\nme"), (None, "me"), ("who?", None)]
    records = [{"question": asked, "answer": said} for asked, said in pairs]
    write("q.jsonl", "\n".join(map(json.dumps, [*records, {"answer": "me"}])))
    found = in_testset("q.jsonl", input_column="question", target_column="answer")
    expected = [Row(" me", "who?"), Row("me", "who? "), Row("\nme", "who?"), Row("me"), Row("me")]
    assert found == {"all": expected}


def test_subsets_keep_their_order(write):
    write("s.csv", "subset,text\nb,x\na,y\nb,z\n")
    subsets = in_testset("s.csv")
    assert subsets == {"b": [Row("x"), Row("z")], "a": [Row("y")]}
    assert list(subsets) == ["b", "a"]


def test_rows_can_be_read_again_and_are_read_lazily(write):
    line = json.dumps({"text": "x" * 1000}) + "\n"
    write("big.jsonl", line * 8_000)
    write("big.jsonl.gz", gzip.compress(line.encode() * 8_000))
    pandas.DataFrame({"text": ["x" * 1000] * 8_000}).to_parquet("big.parquet")
    tracemalloc.start()
    for corpus in local.corpora({"a": "big.jsonl", "b": "big.parquet", "c": "big.jsonl.gz"}):
        assert sum(1 for _ in corpus.rows) == sum(1 for _ in corpus.rows) == 8_000
        assert list(itertools.islice(corpus.rows, 1)) == [Row("x" * 1000)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2**20  # of 8 MB each


def test_the_fingerprint_follows_content_and_columns_not_the_name(write):
    write("a.txt", "same")
    write("b.txt", "same")
    write("c.txt", "other")
    a, b, c = (local.corpora({"x": f"{name}.txt"})[0].fingerprint for name in "abc")
    assert a == b != c
    assert local.corpora({"x": "a.txt"}, text_column="t")[0].fingerprint != a


def test_a_large_file_is_known_by_its_size_and_times(write, monkeypatch):
    monkeypatch.setattr("untrac_exp.data.files.SMALL", 2**16)
    content = "".join(f"text {i}\n\n" for i in range(99_999))
    path = Path(write("a.txt", content))
    time = path.stat().st_mtime_ns

    def mark():
        return local.corpora({"x": "a.txt"})[0].fingerprint

    before = mark()
    assert mark() == before
    for place in (content.index("text 0"), content.index("text 99998")):
        path.write_text(f"{content[:place]}TEXT{content[place + 4 :]}")
        os.utime(path, ns=(time, time))
        assert mark() != before
    path.write_text(content)
    assert mark() != before, "it was written anew"


TURNS = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "me"}]
TEXTS = [f"text number {i}" for i in range(300)]


@pytest.fixture
def saved(write):
    """Two folders: a dataset in two files, and a dictionary with a split of conversations."""
    write("more.txt", "one\n\ntwo")
    table = {"text": [*TEXTS, "", None], "rest": [b"x"] * 302}
    train = datasets.Dataset.from_dict(table)
    chats = datasets.Dataset.from_dict({"messages": [TURNS] * 3, "subset": ["a", "b", "a"]})
    train.save_to_disk("one", num_shards=2)
    both = datasets.DatasetDict({"train": train.select(range(5)), "test": chats})
    both.save_to_disk("both")


@pytest.mark.parametrize("at", ["before it is read", "while it is read"])
def test_a_file_that_changes_after_it_was_hashed_is_one_line(write, at):
    """Else its tokens would be stored as those of its old content."""
    path = write("a.txt", "one\n\ntwo\n\nthree")
    [corpus] = local.corpora({"a": path})
    reader = iter(corpus.rows)
    if at == "while it is read":
        next(reader)
    Path(path).write_text("one\n\ntwo\n\nTHREE")
    with pytest.raises(ValueError, match=r"^corpora.paths.a: a.txt was changed while it was read"):
        list(reader)
    assert list(local.corpora({"a": path})[0].rows)[-1] == Row("THREE")


def test_folders_of_save_to_disk_are_corpora_and_test_sets(saved):
    expected = [Row(text) for text in TEXTS]
    assert rows({"a": "one", "b": "both"}) == {"a": expected, "b": expected[:5]}
    assert rows({"a": "on*"}) == {"a": expected}
    assert rows({"a": ["both", "more.txt"]})["a"] == [*expected[:5], Row("one"), Row("two")]
    row = Row("me", "who?\n", (Turn("user", "who?"),))
    assert in_testset("both", split="test") == {"a": [row, row], "b": [row]}
    marks = [local.corpora({"a": path})[0].fingerprint for path in ("one", "one", "both")]
    assert marks[0] == marks[1] != marks[2]


def tables(**columns):
    return pyarrow.table([*columns.values()], names=[name.rstrip("_") for name in columns])


def parquet(name, table):
    pyarrow.parquet.write_table(table, name)


def arrow(name, table):
    with pyarrow.ipc.new_file(name, table.schema) as file:
        file.write_table(table)


TWICE = tables(text=["x"], text_=["y"])
FAKE = "text that is long enough"
BAD = [
    ("no.txt", None, r"no file at 'no.txt' \(from .*\); check the path"),
    ("*.nothing", None, r"no file at '\*.nothing'"),
    ("hollow/", None, r"no file at 'hollow/' .* end in .txt, .jsonl, "),
    ("docs", ("docs/a.md", "x"), r"1 of another format.* end in .txt"),
    ("not_saved", ("not_saved/state.json", "{}"), r"no file at 'not_saved'"),
    ("empty.txt", "", r"empty.txt is blank; add text or leave it out"),
    ("blank.txt", " \n\n\t\n", r"blank.txt is blank; add text"),
    ("null.jsonl", '{"text": null}\n', r"blank \(such as null.jsonl line 1\); add text"),
    ("x.docx", "x", r"x.docx ends in '.docx'; convert it to .txt, .jsonl, "),
    ("x.parquet.gz", "x", r"ends in '.parquet.gz'; convert it to"),
    ("latin.txt", "one two\nü".encode("latin-1"), r"is not UTF-8 at line 2, byte 8; save it as"),
    ("other.jsonl", '{"body": "x", "n": 1}', r"line 1 has no column 'text'.*\['body', 'n'\]"),
    ("other.csv", "body,n\nx,1\n", r"no column 'text' or 'target' .*\['body', 'n'\]"),
    ("ints.parquet", tables(body=[1]), r"ints.parquet row 1 has no column.*\['body'\]"),
    ("bad.jsonl", '{"text": "x"}\n\n{"text": \n', r"line 3 is not JSON .*one object a line"),
    ("bad.json", '[{"text": "x"},\n{"text": ]', r"line 2 is not JSON .*one object a line"),
    ("list.jsonl", "[1]\n", r"list.jsonl line 1 is not a JSON object"),
    ("list.json", '["x", 1]\n', r"list.json item 2 is not a JSON object"),
    ("number.jsonl", '{"text": 7}\n', r"line 1: column 'text' holds int, not text"),
    ("half.jsonl", '{"text": "\\ud83d"}\n', r"line 1: column 'text' holds '.ud83d', half of"),
    ("ragged.csv", "text,n\na, comma,2\n", r"ragged.csv line 2 is not CSV: not as many cells"),
    ("quote.csv", 'text\n"open\n', r"quote.csv line \d is not CSV"),
    ("twice.csv", "text,text\nx,y\n", r"twice.csv has two columns 'text'; rename or remove one"),
    ("twice.parquet", TWICE, r"twice.parquet has two columns 'text'; rename"),
    ("twice.arrow", TWICE, r"twice.arrow has two columns 'text'; rename or"),
    ("fake.parquet", FAKE, r"fake.parquet is not readable as parquet \(.*\); write it"),
    ("fake.arrow", FAKE, r"fake.arrow is not readable as arrow \(.*\); write it again"),
    ("fake.txt.gz", FAKE, r"fake.txt.gz cannot be read \(.*\); write it again"),
    ("cut.txt.zst", zstd.compress(b"text")[:-4], r"cannot be read \(Compressed file ended"),
    (3, None, r"corpora.paths.a=3 is no path; give a path"),
    ([], None, r"corpora.paths.a=\[\] is no path; give a path"),
    (local.Texts([3]), None, r"item 1 is a int; give text or a mapping"),
]


@pytest.mark.parametrize(("path", "content", "words"), BAD, ids=[str(row[0]) for row in BAD])
def test_bad_inputs_are_named_in_one_line(write, path, content, words):
    name, content = content if isinstance(content, tuple) else (path, content)
    if isinstance(content, pyarrow.Table):
        (arrow if name.endswith("arrow") else parquet)(name, content)
    elif content is not None:
        write(name, content)
    with pytest.raises(ValueError, match=words) as error:
        rows({"a": path})
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("corpora.paths.a")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ({"a": "ok.txt", "b": "./*k.txt"}, r"ok.txt is in both 'a' and 'b'; give each"),
        ({"a": "one", "b": "both/../one"}, r"arrow is in both 'a' and 'b'; give each"),
        ({}, r"corpora.paths is empty"),
        ("ok.txt", r"corpora.paths is empty or not a mapping; write"),
        ({True: "ok.txt"}, r"corpora.paths: the name true is read as bool, .* quote it"),
        ({"a": {"path": "both", "split": "dev"}}, r"both has no split 'dev' but train, test; set"),
        ({"a": {"path": "ok.txt", "colum": "x"}}, r"a: there is no 'colum'; it takes path, split,"),
        ({"a": {"text_column": "body"}}, r"paths.a=None is no path; give a path"),
    ],
)
def test_bad_mappings_are_named_in_one_line(saved, write, paths, words):
    write("ok.txt", "fine")
    with pytest.raises(ValueError, match=words) as error:
        rows(paths)
    assert "\n" not in str(error.value)


def test_a_subset_for_some_rows_only_is_refused(write):
    write("s.jsonl", '{"text": "x", "subset": "a"}\n{"text": "y"}\n')
    with pytest.raises(ValueError, match=r"testset.paths.t: s.jsonl line 2: only some rows"):
        in_testset("s.jsonl")
