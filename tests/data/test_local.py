import itertools
import json
import tracemalloc
from pathlib import Path

import pandas
import pytest
from omegaconf import OmegaConf

from untrac_exp.data.base import Row
from untrac_exp.data.sources import local


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


RECORDS = [
    {"text": 'with "quotes", commas\nand two lines'},
    {"text": "grüße ☃"},
    {"text": "   "},
    {"text": "a last one"},
]
EXPECTED = [Row(RECORDS[i]["text"]) for i in (0, 1, 3)]


def test_the_same_rows_from_every_kind_of_table(write):
    frame = pandas.DataFrame(RECORDS)
    write("a.jsonl", "\n".join(json.dumps(record) for record in RECORDS))
    frame.to_csv("b.csv", index=False)
    frame.to_parquet("c.parquet", row_group_size=2)
    found = rows({"a": "a.jsonl", "b": "b.csv", "c": "c.parquet"})
    assert found == {"a": EXPECTED, "b": EXPECTED, "c": EXPECTED}


def test_text_files_are_paragraphs_for_corpora_and_lines_for_test_sets(write):
    write("t.txt", "\ufeffone\r\ntwo\r\n\r\n \r\nthree")
    assert rows({"t": "t.txt"})["t"] == [Row("one\r\ntwo"), Row("three")]
    (testset,) = local.testsets({"t": "t.txt"})
    assert testset.subsets == {"all": [Row("one"), Row("two"), Row("three")]}


def test_globs_and_directories_are_sorted_and_each_file_is_read_once(write):
    for name in ("d/2.txt", "d/1.txt", "d/deep/er/3.txt", "d/notes.md"):
        write(name, Path(name).stem)
    expected = [Row("1"), Row("2"), Row("3")]
    assert rows({"d": "d"})["d"] == expected
    assert rows({"d": "d/**/*.txt"})["d"] == expected
    assert rows({"d": ["d/*.txt", "d/1.txt", "d/deep"]})["d"] == expected
    assert rows(OmegaConf.create({"d": ["d/1.txt", "d/2.txt", "d/deep"]}))["d"] == expected


def test_targets_are_set_apart_from_their_input(write):
    records = [
        {"question": "who?", "answer": "me"},
        {"question": "who? ", "answer": "me"},
        {"question": "who?", "answer": "\nme"},
        {"question": None, "answer": "me"},
        {"answer": "me"},
        {"question": "who?", "answer": None},
    ]
    write("q.jsonl", "\n".join(map(json.dumps, records)))
    (testset,) = local.testsets({"q": "q.jsonl"}, input_column="question", target_column="answer")
    assert testset.subsets["all"] == [
        Row(" me", "who?"),
        Row("me", "who? "),
        Row("\nme", "who?"),
        Row("me"),
        Row("me"),
    ]


def test_subsets_keep_their_order(write):
    write("s.csv", "subset,text\nb,x\na,y\nb,z\n")
    (testset,) = local.testsets({"s": "s.csv"})
    assert dict(testset.subsets) == {"b": [Row("x"), Row("z")], "a": [Row("y")]}
    assert list(testset.subsets) == ["b", "a"]


def test_rows_can_be_read_again_and_are_read_lazily(write):
    line = json.dumps({"text": "x" * 1000}) + "\n"
    write("big.jsonl", line * 8_000)
    pandas.DataFrame({"text": ["x" * 1000] * 8_000}).to_parquet("big.parquet")
    tracemalloc.start()
    for corpus in local.corpora({"a": "big.jsonl", "b": "big.parquet"}):
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


PARQUET_INTS = "ints.parquet"
BAD = {
    "missing file": ({"a": "no.txt"}, r"corpora.paths.a: no.txt does not exist"),
    "empty glob": ({"a": "*.nothing"}, r"corpora.paths.a: no file matches '\*.nothing'"),
    "empty directory": ({"a": "hollow"}, r"directory hollow has no file of .txt, "),
    "empty file": ({"a": "empty.txt"}, r"empty.txt is empty; add text"),
    "suffix": ({"a": "x.docx"}, r"x.docx ends in '.docx'; convert it to one of .txt"),
    "not UTF-8": ({"a": "latin.txt"}, r"latin.txt is not UTF-8 at line 2, byte 8; save it as"),
    "column": ({"a": "other.jsonl"}, r"other.jsonl line 1 has no column 'text'.*\['body', 'n'\]"),
    "csv column": ({"a": "other.csv"}, r"no column 'text' or 'target' .*\['body', 'n'\]"),
    "parquet column": ({"a": PARQUET_INTS}, r"ints.parquet row 1 has no column.*\['body'\]"),
    "no JSON": ({"a": "bad.jsonl"}, r"bad.jsonl line 3 is not JSON .*one object a line"),
    "no object": ({"a": "list.jsonl"}, r"list.jsonl line 1 is not a JSON object"),
    "no text": ({"a": "number.jsonl"}, r"line 1: column 'text' holds int, not text"),
    "ragged csv": ({"a": "ragged.csv"}, r"ragged.csv line 3 has not as many cells"),
    "no csv": ({"a": "quote.csv"}, r"quote.csv line \d is not CSV"),
    "no parquet": ({"a": "fake.parquet"}, r"fake.parquet is not readable parquet"),
    "blank": ({"a": "blank.txt"}, r"every text in blank.txt is blank"),
    "null": ({"a": "null.jsonl"}, r"every text in null.jsonl is blank"),
    "twice": ({"a": "ok.txt", "b": "./*k.txt"}, r"ok.txt is in both 'a' and 'b'; give each"),
    "nothing": ({}, r"corpora.paths is empty"),
    "no mapping": ("ok.txt", r"corpora.paths is empty or not a mapping; write"),
    "no path": ({"a": 3}, r"corpora.paths.a is 3; give a path"),
    "no paths": ({"a": []}, r"corpora.paths.a is \[\]; give a path"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_inputs_are_named_in_one_line(write, case):
    Path("hollow").mkdir()
    write("ok.txt", "fine")
    write("x.docx", "x")
    write("empty.txt", "")
    write("blank.txt", " \n\n\t\n")
    write("latin.txt", "one two\nü".encode("latin-1"))
    write("other.jsonl", '{"body": "x", "n": 1}')
    write("other.csv", "body,n\nx,1\n")
    write("bad.jsonl", '{"text": "x"}\n\n{"text": \n')
    write("list.jsonl", "[1]\n")
    write("number.jsonl", '{"text": 7}\n')
    write("null.jsonl", '{"text": null}\n')
    write("ragged.csv", "text,n\nx,1\na, comma,2\n")
    write("quote.csv", 'text\n"open\n')
    write("fake.parquet", "text")
    pandas.DataFrame({"body": [1]}).to_parquet(PARQUET_INTS)
    paths, words = BAD[case]
    with pytest.raises(ValueError, match=words) as error:
        rows(paths)
    assert "\n" not in str(error.value)
    assert "corpora.paths" in str(error.value)


def test_a_subset_for_some_rows_only_is_refused(write):
    write("s.jsonl", '{"text": "x", "subset": "a"}\n{"text": "y"}\n')
    with pytest.raises(ValueError, match=r"testset.paths.s: s.jsonl line 2: only some rows"):
        local.testsets({"s": "s.jsonl"})
