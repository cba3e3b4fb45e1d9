"""Files of a job: whole, in fixed columns, and bit for bit what was written."""

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from untrac_exp.report import result_files as files


def scores(values, corpora=("a", "b", "c")) -> pd.DataFrame:
    return pd.DataFrame(
        {"subset": "s", "testset": "t", "corpus": list(corpora), "influence": values}
    )


def test_scores_come_back_bit_for_bit(tmp_path):
    values = [0.1 + 0.2, np.nextafter(1.0, 2.0), -5e-324, np.nan, np.inf, -np.inf]
    table = scores(values, "abcdef").assign(ci_low=1 / 3, ci_high=np.nan)
    path = files.write(tmp_path, "scores", table)
    assert path.read_text().splitlines()[0] == "corpus,testset,subset,influence,ci_low,ci_high"
    back = files.read_table(path, files.SCORES)
    np.testing.assert_array_equal(
        back["influence"].to_numpy().view("u8"), np.array(values).view("u8")
    )
    assert (back["ci_low"] == 1 / 3).all()
    assert back["ci_high"].isna().all()


def test_names_that_look_like_something_else_stay_names(tmp_path):
    corpora = ["NA", "007", 'with "quotes", commas\nand lines', "ünï·cødé", "nan", "1e5"]
    path = files.write(tmp_path, "scores", scores(1.0, corpora))
    assert list(files.read_table(path, files.SCORES)["corpus"]) == corpora


def test_a_carriage_return_in_a_text_is_a_line_end(tmp_path):
    corpora = ["one\rtwo", "one\r\ntwo", "three"]
    path = files.write(tmp_path, "scores", scores(1.0, corpora))
    back = files.read_table(path, files.SCORES)["corpus"]
    assert list(back) == ["one\ntwo", "one\ntwo", "three"]


def test_a_table_that_was_changed_after_the_metrics_is_named(tmp_path):
    path = files.write(tmp_path, "scores", scores(1.0))
    files.write_metrics(tmp_path, {"method": "x", "seed": 0})
    metrics = files.read_metrics(tmp_path)
    assert files.changed_table(tmp_path, metrics) is None
    path.write_text(path.read_text()[:-5])
    assert files.changed_table(tmp_path, metrics) == "scores.csv"
    path.unlink()
    assert files.changed_table(tmp_path, metrics) == "scores.csv"
    files.begin(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_strict_json_with_null_for_undefined(tmp_path):
    metrics = {
        "method": "untrac", "seed": np.int64(3), "path": Path("x/y"),
        "agreement": {"t": {"pearson": np.nan, "n_corpora": np.int64(8)}},
        "losses": np.array([1.5, np.inf]),
    }  # fmt: skip
    path = files.write_metrics(tmp_path, metrics)

    def refuse(constant):
        raise AssertionError(constant)

    back = json.loads(path.read_text(), parse_constant=refuse)
    assert back == {
        "method": "untrac", "seed": 3, "path": "x/y", "losses": [1.5, None], "tables": {},
        "agreement": {"t": {"pearson": None, "n_corpora": 8}},
    }  # fmt: skip
    assert files.read_metrics(tmp_path) == back


READ = {
    "metrics.json": files.read_metrics,
    "scores.csv": lambda folder: files.read_table(folder / "scores.csv", files.SCORES),
}


@pytest.mark.parametrize(
    ("name", "text"),
    [("metrics.json", text) for text in ("{", "[]", "{}", "\x00\xff")]
    + [("scores.csv", text) for text in ("", "corpus,testset\na,b\n", "\x00", "a\n1,2,3\n4\n")],
)
def test_damaged_files_are_named_with_a_remedy(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name}: unreadable .* delete it") as caught:
        READ[name](tmp_path)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = files.write(tmp_path, "scores", scores([1.0, 2.0, 3.0]))
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ValueError, match=r"cannot write .*scores\.csv: No space left.*free some"):
        files.write(tmp_path, "scores", scores([4.0, 5.0, 6.0]))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
