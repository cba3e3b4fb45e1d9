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
from untrac_exp.data.prepare import READING, encode_corpus
from untrac_exp.data.sources import local
from untrac_exp.models.scratch import Scratch
from untrac_exp.store import Store

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
@pytest.mark.parametrize("kind", ["snappy", "gzip", "zstd", "arrow stream", "arrow file"])
def test_the_same_rows_from_every_table(write, kind, path):
    table = pyarrow.Table.from_pylist(RECORDS).append_column("rest", [[b"x"] * len(RECORDS)])
    suffix = ".arrow" if kind.startswith("arrow") else ".parquet"
    write("d/other.md", "not of any known format")
    if kind == "arrow stream":
        with pyarrow.ipc.new_stream(f"d/a{suffix}", table.schema) as file:
            file.write_table(table, max_chunksize=2)
    elif kind == "arrow file":
        with pyarrow.ipc.new_file(f"d/a{suffix}", table.schema) as file:
            file.write_table(table, max_chunksize=2)
    else:
        pyarrow.parquet.write_table(table, f"d/a{suffix}", compression=kind, row_group_size=2)
    Path("d/other.md").unlink(missing_ok="**" in path)
    assert rows({"a": path.format(suffix)}) == {"a": EXPECTED}


def test_json_may_be_an_array_of_texts_over_lines_or_an_object_a_line(write):
    write("a.json", "\ufeff" + json.dumps([record["text"] for record in RECORDS], indent=2))
    write("b.json", "\n" + "\n".join(LINES))
    assert rows({"a": "a.json", "b": "b.json"}) == {"a": EXPECTED, "b": EXPECTED}


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


def test_what_was_read_is_beside_the_tokens_and_in_the_log(write, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write("d/a.jsonl", "".join(json.dumps({"text": f"text {i}"}) + "\n" for i in range(9)))
    write("d/b.jsonl", '{"text": " "}')
    store, settings = Store(tmp_path / "store"), {"block_size": 4, "seq2seq": False}
    [corpus] = local.corpora({"a": "d"})
    tokenizer = Scratch("opt", 4, 260).tokenizer([corpus], store)
    folder = encode_corpus(
        corpus, tokenizer, max_sequences=None, store=store, pack=False, **settings
    )
    reading = json.loads((folder / READING).read_text())
    assert reading == {
        "files": 2, "ignored": {}, "rows": 9, "characters": 54, "skipped": 1, "cut": 9,
    }  # fmt: skip
    said = "corpus 'a': 2 files, 9 rows, 54 characters, 1 skipped, 9 cut"
    assert said in caplog.messages


def test_columns_and_split_of_one_corpus(write, saved):
    write("a.jsonl", '{"body": "x", "text": "y"}')
    write("b.jsonl", '{"text": "z"}')
    own = {"path": "a.jsonl", "text_column": "body"}
    assert rows({"a": own, "b": "b.jsonl"}) == {"a": [Row("x")], "b": [Row("z")]}
    assert len(rows({"a": {"path": ["both"], "split": "test"}})["a"]) == 3
    with pytest.raises(ValueError, match=r"paths.a: there is no 'colum'; it takes path, split, te"):
        rows({"a": {"path": "a.jsonl", "colum": "body"}})
    with pytest.raises(ValueError, match=r"paths.a=None is no path; give a path"):
        rows({"a": {"text_column": "body"}})


def test_tables_in_memory_are_read_like_files():
    table = {"text": ["one", None, "two"], "subset": ["a", "a", "b"]}
    for given in (datasets.Dataset.from_dict(table), pandas.DataFrame(table)):
        assert rows({"a": given}) == {"a": [Row("one"), Row("two")]}
        assert in_testset(given) == {"a": [Row("one")], "b": [Row("two")]}


def test_what_is_compressed_is_known_by_its_content_and_a_csv_by_its_header(write):
    write("a.jsonl", gzip.compress(b'{"text": "x"}'))
    write("b.csv", 'id;text\n1;"a, b"\n')
    write("c.csv", "note,note,text\n1,2,x\n")
    assert rows({"a": "a.jsonl", "b": "b.csv", "c": "c.csv"}) == {
        "a": [Row("x")], "b": [Row("a, b")], "c": [Row("x")],
    }  # fmt: skip


def test_targets_are_separated_from_their_input(write):
    records = [
        {"question": "who?", "answer": "me"},
        {"question": "who? ", "answer": "me"},
        {"question": "who?", "answer": "\nme"},
        {"question": None, "answer": "me"},
        {"answer": "me"},
        {"question": "who?", "answer": None},
    ]
    write("q.jsonl", "\n".join(map(json.dumps, records)))
    assert in_testset("q.jsonl", input_column="question", target_column="answer")["all"] == [
        Row(" me", "who?"),
        Row("me", "who? "),
        Row("\nme", "who?"),
        Row("me"),
        Row("me"),
    ]


def test_subsets_keep_their_order(write):
    write("s.csv", "subset,text\nb,x\na,y\nb,z\n")
    subsets = in_testset("s.csv")
    assert subsets == {"b": [Row("x"), Row("z")], "a": [Row("y")]}
    assert list(subsets) == ["b", "a"]


def test_texts_in_memory_are_read_like_files():
    texts = local.Texts(
        ["one", {"text": "two", "subset": True}, {"prompt": "who?", "completion": ""}]
    )
    assert rows({"a": texts}) == {"a": [Row("one"), Row("two")]}
    assert in_testset(local.Texts(texts[1:])) == {"true": [Row("two")]}
    marks = {corpus_fingerprint(local.corpora({name: texts})[0]) for name in "ab"}
    assert len(marks) == 1
    assert corpus_fingerprint(local.corpora({"a": local.Texts(["one"])})[0]) not in marks


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


def test_the_order_of_names_is_no_order_of_corpora(write):
    given = {name: write(f"{name}.txt", name) for name in ("b", "c", "a")}
    assert [corpus.name for corpus in local.corpora(given)] == ["a", "b", "c"]


def test_folders_of_save_to_disk_are_corpora_and_test_sets(saved):
    expected = [Row(text) for text in TEXTS]
    assert rows({"a": "one", "b": "both"}) == {"a": expected, "b": expected[:5]}
    assert rows({"a": "on*"}) == {"a": expected}
    assert rows({"a": ["both", "more.txt"]})["a"] == [*expected[:5], Row("one"), Row("two")]
    row = Row("me", "who?\n", (Turn("user", "who?"),))
    assert in_testset("both", split="test") == {"a": [row, row], "b": [row]}
    marks = [local.corpora({"a": path})[0].fingerprint for path in ("one", "one", "both")]
    assert marks[0] == marks[1] != marks[2]


BAD = {
    "missing file": ("no.txt", r"no file at 'no.txt' \(from .*\); check the path"),
    "empty glob": ("*.nothing", r"no file at '\*.nothing'"),
    "empty directory": ("hollow", r"no file at 'hollow' .* end in .txt, .jsonl, "),
    "empty file": ("empty.txt", r"empty.txt is blank; add text or leave it out"),
    "suffix": ("x.docx", r"x.docx ends in '.docx'; convert it to .txt, .jsonl, "),
    "compressed suffix": ("x.parquet.gz", r"ends in '.parquet.gz'; convert it to"),
    "not UTF-8": ("latin.txt", r"latin.txt is not UTF-8 at line 2, byte 8; save it as"),
    "column": ("other.jsonl", r"other.jsonl line 1 has no column 'text'.*\['body', 'n'\]"),
    "csv column": ("other.csv", r"no column 'text' or 'target' .*\['body', 'n'\]"),
    "parquet column": ("ints.parquet", r"ints.parquet row 1 has no column.*\['body'\]"),
    "no JSON": ("bad.jsonl", r"bad.jsonl line 3 is not JSON .*one object a line"),
    "no JSON array": ("bad.json", r"bad.json line 2 is not JSON .*one object a line"),
    "no object": ("list.jsonl", r"list.jsonl line 1 is not a JSON object"),
    "no object in an array": ("list.json", r"list.json item 2 is not a JSON object"),
    "no text": ("number.jsonl", r"line 1: column 'text' holds int, not text"),
    "ragged csv": ("ragged.csv", r"ragged.csv line 3 is not CSV: not as many cells"),
    "a column twice": ("twice.csv", r"twice.csv has two columns 'text'; rename or remove one"),
    "a table's column twice": ("twice.parquet", r"twice.parquet has two columns 'text'; rename"),
    "an arrow column twice": ("twice.arrow", r"twice.arrow has two columns 'text'; rename or"),
    "half a character": ("half.jsonl", r"half.jsonl line 2: column 'text' holds '.ud83d', half of"),
    "no csv": ("quote.csv", r"quote.csv line \d is not CSV"),
    "no parquet": ("fake.parquet", r"fake.parquet is not readable as parquet \(.*\); write it"),
    "no arrow": ("fake.arrow", r"fake.arrow is not readable as arrow \(.*\); write it again"),
    "no gzip": ("fake.txt.gz", r"fake.txt.gz cannot be read \(.*\); write it again"),
    "cut off": ("cut.txt.zst", r"cut.txt.zst cannot be read \(Compressed file ended"),
    "blank": ("blank.txt", r"blank.txt is blank; add text"),
    "null": ("null.jsonl", r"null.jsonl is blank \(such as null.jsonl line 1\); add text"),
    "two blank": (["null.jsonl", "blank.txt"], r"null.jsonl and 1 more are blank"),
    "no saved dataset": ("not_saved", r"no file at 'not_saved'"),
    "no such split": ("both", r"both has no split 'dev' but train, test; set corpora.split"),
    "no path": (3, r"corpora.paths.a=3 is no path; give a path"),
    "no paths": ([], r"corpora.paths.a=\[\] is no path; give a path"),
    "no text in memory": (local.Texts([3]), r"item 1 is a int; give text or a mapping"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_inputs_are_named_in_one_line(saved, write, case):
    Path("hollow").mkdir()
    write("x.docx", "x")
    write("x.parquet.gz", "x")
    write("empty.txt", "")
    write("blank.txt", " \n\n\t\n")
    write("latin.txt", "one two\nü".encode("latin-1"))
    write("other.jsonl", '{"body": "x", "n": 1}')
    write("other.csv", "body,n\nx,1\n")
    write("bad.jsonl", '{"text": "x"}\n\n{"text": \n')
    write("bad.json", '[{"text": "x"},\n{"text": ]')
    write("list.jsonl", "[1]\n")
    write("list.json", '["x", 1]\n')
    write("number.jsonl", '{"text": 7}\n')
    write("null.jsonl", '{"text": null}\n')
    write("ragged.csv", "text,n\nx,1\na, comma,2\n")
    write("twice.csv", "text,text\nx,y\n")
    twice = pyarrow.table([["x"], ["y"]], names=["text", "text"])
    pyarrow.parquet.write_table(twice, "twice.parquet")
    with pyarrow.ipc.new_file("twice.arrow", twice.schema) as file:
        file.write_table(twice)
    write("half.jsonl", '{"text": "fine"}\n{"text": "\\ud83d"}\n')
    write("quote.csv", 'text\n"open\n')
    for name in ("fake.parquet", "fake.arrow", "fake.txt.gz"):
        write(name, "text that is long enough")
    write("cut.txt.zst", zstd.compress(b"text")[:-4])
    write("not_saved/state.json", "{}")
    pandas.DataFrame({"body": [1]}).to_parquet("ints.parquet")
    path, words = BAD[case]
    with pytest.raises(ValueError, match=words) as error:
        rows({"a": path}, split="dev" if path == "both" else "train")
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
