"""Folders of `save_to_disk` and datasets of the hub, by path like any file."""

import datasets
import pytest
from huggingface_hub import constants

from untrac_exp.data.base import Row, Turn
from untrac_exp.data.sampling import sampled
from untrac_exp.data.sources import local

TEXTS = [f"text number {i}" for i in range(300)]
ROWS = [Row(text) for text in TEXTS]
TABLE = {"text": [*TEXTS, "", None], "rest": [b"x"] * 302}
MESSAGES = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "me"}]


@pytest.fixture
def saved(tmp_path):
    """Two folders: a dataset in two files, and a dictionary with a split of conversations."""
    train = datasets.Dataset.from_dict(TABLE)
    chats = datasets.Dataset.from_dict({"messages": [MESSAGES] * 3, "subset": ["a", "b", "a"]})
    train.save_to_disk(tmp_path / "one", num_shards=2)
    both = datasets.DatasetDict({"train": train.select(range(5)), "test": chats})
    both.save_to_disk(tmp_path / "both")
    return tmp_path


def opened(path, **other):
    [found] = local.corpora({"forum": str(path)}, **other)
    return found


def test_a_saved_dataset_is_a_corpus(saved):
    found = opened(saved / "one")
    assert list(found.rows) == ROWS
    assert list(opened(saved / "on*").rows) == ROWS
    assert list(opened(saved / "both").rows) == ROWS[:5]
    assert found.fingerprint == opened(saved / "one").fingerprint
    assert found.fingerprint != opened(saved / "both").fingerprint


def test_saved_and_other_files_make_one_corpus(saved):
    (saved / "more.txt").write_text("one\n\ntwo")
    paths = [str(saved / "both"), str(saved / "more.txt")]
    [found] = local.corpora({"forum": paths})
    assert list(found.rows) == [*ROWS[:5], Row("one"), Row("two")]


def test_a_saved_split_is_a_test_set(saved):
    [testset] = local.testsets({"t": str(saved / "both")}, split="test")
    row = Row("me", "who?\n", (Turn("user", "who?"),))
    assert testset.subsets == {"a": [row, row], "b": [row]}


def test_a_large_saved_dataset_is_sampled_by_the_number_of_a_row(saved, monkeypatch):
    monkeypatch.setattr(local, "SMALL", 1_000)
    found = opened(saved / "one")
    a, b, c = (sampled(found, 60, seed).rows for seed in (0, 0, 1))
    assert a == b != c
    assert len(set(a)) == 60
    assert set(a) < set(ROWS)
    assert sampled(found, 301, 0).rows == ROWS
    assert set(sampled(found, 300, 0).rows) == set(ROWS)


@pytest.fixture
def pile(tmp_path, repository):
    """The address of a hub repository with two configs."""
    table = datasets.Dataset.from_dict({"text": TABLE["text"], "domain": ["x"] * 302})
    chats = datasets.Dataset.from_dict({"messages": [MESSAGES] * 3})
    numbers = datasets.Dataset.from_dict({"n": [1]})
    tables = {("texts", "train"): table, ("texts", "few"): table.select(range(4)),
              ("chats", "test"): chats, ("numbers", "train"): numbers}  # fmt: skip
    return "hub:" + repository(tmp_path / "pile", tables)


def test_a_hub_dataset_is_a_corpus_or_a_test_set(pile):
    assert list(opened(f"{pile}@texts").rows) == ROWS
    assert list(opened(f"{pile}@texts", split="few").rows) == ROWS[:4]
    [testset] = local.testsets({"t": f"{pile}@chats"}, split="test")
    assert testset.subsets == {"all": [Row("me", "who?\n", (Turn("user", "who?"),))] * 3}


def test_a_hub_dataset_is_sampled_from_a_shuffled_stream(pile):
    found = opened(f"{pile}@texts")
    a, b, c = (sampled(found, 60, seed).rows for seed in (0, 0, 1))
    assert a == b != c
    assert len(set(a)) == 60
    assert set(a) < set(ROWS)
    assert a != sorted(a, key=ROWS.index)
    assert sampled(found, 301, 0).rows == ROWS
    assert sampled(found, 60, 0).fingerprint != sampled(found, 60, 1).fingerprint


def test_the_fingerprint_of_a_hub_dataset_tells_configs_and_splits_apart(pile):
    marks = {opened(f"{pile}@texts", split=split).fingerprint for split in ("train", "few")}
    assert len(marks | {opened(f"{pile}@chats", split="test").fingerprint}) == 3


BAD = {
    "no such split": (
        {"forum": "both"},
        "dev",
        r"both has no split 'dev' but train, test; set c",
    ),
    "no data": ({"forum": "hollow"}, "train", r"hollow is not readable as a saved dataset \(.*\)"),
    "twice": (
        {"a": "one", "b": "hollow/../one"},
        "train",
        r"one is in both 'a' and 'b'; give each",
    ),
    "hub split": ({"forum": "hub:pile@texts"}, "dev", r"'pile': .*dev.*; set corpora.split"),
    "hub config": ({"forum": "hub:pile@x"}, "train", r"'x' not found.*; set @config in corpora.pa"),
    "no config": ({"forum": "hub:pile"}, "train", r"several configs; set @config in corpora.paths"),
    "no name": ({"forum": "hub:"}, "train", r"'hub:' has no dataset name; write hub:owner/name"),
    "hub and file": (
        {"forum": ["hub:pile@texts", "one"]},
        "train",
        r"needs a name of its own: hub:pile@texts",
    ),
    "no network": ({"forum": "hub:some/where"}, "train", r"cannot reach the hub for 'some/where'"),
    "column": ({"forum": "hub:pile@numbers"}, "train", r"'pile' row 1 has no column .*\['n'\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named_in_one_line(saved, pile, monkeypatch, name):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (saved / "hollow").mkdir()
    (saved / "hollow" / "state.json").write_text("{}")
    monkeypatch.chdir(saved)
    paths, split, says = BAD[name]
    with pytest.raises(ValueError, match=says) as caught:
        local.corpora(paths, split=split)
    assert "corpora.paths" in str(caught.value)
    assert "\n" not in str(caught.value)
