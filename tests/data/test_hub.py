"""Repositories laid out as on the hub, in folders, and the hub's refusals."""

import json
import logging
import socket
import time
from pathlib import Path

import datasets
import httpx
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import constants, errors

from untrac_exp.data import remedies
from untrac_exp.data.base import Row, Turn
from untrac_exp.data.rows import Columns
from untrac_exp.data.sampling import sample_rows
from untrac_exp.data.sources import hub, local
from untrac_exp.models.pretrained import Pretrained
from untrac_exp.store import Store

TEXTS = [f"text number {i}" for i in range(300)]
ROWS = [Row(text) for text in TEXTS]
MESSAGES = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "me"}]


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """As if the hub answered, which no test asks."""
    monkeypatch.setattr(hub, "answers", lambda *_: True)


@pytest.fixture
def pile(tmp_path, repository):
    """A dataset of several configs, some with the columns of the Pile's splits on the hub."""
    table = datasets.Dataset.from_dict({"text": [*TEXTS, "", None], "domain": ["x"] * 302})
    chats = datasets.Dataset.from_dict({"messages": [MESSAGES] * 3})
    tables = {("Pile-CC", "train"): table, ("Pile-CC", "few"): table.select(range(4)),
              ("chats", "test"): chats}  # fmt: skip
    return repository(tmp_path / "pile", tables)


def corpus(path, seed=3, config="@Pile-CC", **settings):
    entry = {"path": f"hub:{path}{config}", "seed": seed, "buffer_size": 10, **settings}
    [found] = local.corpora({"pile_cc": entry})
    return found


def test_every_text_comes_once_in_the_order_of_the_seed(pile):
    rows = list(corpus(pile).rows)
    assert sorted(rows) == sorted(ROWS)
    assert rows == list(corpus(pile).rows)
    assert rows != list(corpus(pile, seed=4).rows)
    assert rows != ROWS


def test_folders_of_one_name_are_told_apart(tmp_path, repository):
    for folder, text in (("old", "before"), ("new", "after")):
        table = datasets.Dataset.from_dict({"text": [text]})
        path = repository(tmp_path / folder / "same", {("c", "train"): table})
        assert list(hub.HubDataset("k", Columns(), path, "c").read()) == [{"text": text}]


def test_splits_are_joined_and_only_so_many_documents_are_taken(pile):
    rows = list(corpus(pile, split="train+few").rows)
    assert sorted(rows) == sorted([*ROWS, *ROWS[:4]])
    of = corpus(pile, split="train+few", documents=7)
    few = list(of.rows)
    assert few == rows[:7]
    assert list(of.rows) == few
    assert few != list(corpus(pile, seed=4, split="train+few", documents=7).rows)
    assert sample_rows(of, 60, 0).rows == few
    assert set(sample_rows(of, 3, 5).rows) < set(few)
    [testset] = local.testsets({"t": f"hub:{pile}@chats"}, split="test")
    assert testset.subsets == {"all": [Row("me", "who?\n", (Turn("user", "who?"),))] * 3}


def test_the_fingerprint_tells_sources_apart_without_reading_them():
    settings = {"revision": "abc", "split": "test", "text_column": "body", "buffer_size": 2,
                "documents": 2, "seed": 1}  # fmt: skip
    entries = [{"path": f"hub:not/{name}"} for name in ("there", "there@x", "elsewhere")]
    entries += [{"path": "hub:not/there", "seed": 0, key: of} for key, of in settings.items()]
    found = {local.corpora({"a": entry})[0].fingerprint for entry in entries}
    assert len(found) == len(entries)
    [one], [same] = (local.corpora({name: entries[0]}) for name in ("a", "b"))
    assert one.fingerprint == same.fingerprint  # whatever it is called


def test_both_are_sampled_from_a_shuffled_stream(pile):
    [address] = local.corpora({"forum": f"hub:{pile}@Pile-CC"})
    for found in (address, corpus(pile)):
        a, b, c = (sample_rows(found, 60, seed).rows for seed in (0, 0, 1))
        assert a == b != c
        assert len(set(a)) == 60
        assert set(a) < set(ROWS)
        assert a != sorted(a, key=ROWS.index)
        assert sample_rows(found, 301, 0).rows == list(found.rows)
        assert sample_rows(found, 60, 0).fingerprint != sample_rows(found, 60, 1).fingerprint


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"path": "hub:{}@Pile-XX"}, r"'Pile-XX' not found.*'Pile-CC'.*give one of its configs"),
        ({"path": "hub:{}"}, r"give one of its configs"),
        ({"path": "hub:{}/none"}, r"cannot be read: .*; give"),
        ({"path": "hub:{}@Pile-CC", "split": "dev"}, r"'.*pile' .*dev.*; give one of its configs"),
        (
            {"path": "hub:{}@Pile-CC", "text_column": "body"},
            r"no column 'body' or .* but \['text', ",
        ),
        ({"path": "hub:{}", "colum": "text"}, r"there is no 'colum'; it takes path, split, text_c"),
        ({"path": "hub:"}, r"write hub:owner/name, and nothing else beside it"),
        ({"path": ["hub:{}", "one"]}, r"write hub:owner/name, and nothing else beside it"),
        ({"path": "hub:some/where"}, r"'some/where' is on the hub, which cannot be reached; conn"),
        ({"path": "{}/README.md", "documents": 3}, r"documents is only for hub:owner/name"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(pile, entry, says, monkeypatch):
    """Without a network, through the real `load_dataset`."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (Path(pile) / "none").mkdir()
    given = json.loads(json.dumps(entry).replace("{}", pile))
    with pytest.raises(ValueError, match=says) as caught:
        [list(found.rows) for found in local.corpora({"forum": given})]
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("corpora.paths.forum")


def refused(kind, status):
    request = httpx.Request("GET", "https://huggingface.co")
    return kind(str(status), response=httpx.Response(status, request=request))


CLOSED = DatasetNotFoundError("Dataset 'x/y' is a gated dataset on the Hub.")
CLOSED.__cause__ = refused(errors.GatedRepoError, 403)
GATED = r"'x/y' is gated; accept its terms at https://huggingface.co/datasets/x/y and set HF_TOKEN"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (CLOSED, GATED),
        (refused(errors.GatedRepoError, 401), GATED),
        (refused(errors.RepositoryNotFoundError, 404), "or set HF_TOKEN if it is private"),
        (DatasetNotFoundError("Dataset 'x/y' doesn't exist on the Hub"), "'x/y' does not exist"),
        (DatasetNotFoundError("Revision 'v9' doesn't exist for dataset"), "is there, but Revision"),
        (RuntimeError("Dataset scripts are no longer supported"), "supported.*; give one with par"),
        (ConnectionError("Couldn't reach 'x/y' on the Hub (ConnectError)"), "cannot be reached"),
        (errors.OfflineModeIsEnabled("offline"), "'x/y' is on the hub, which cannot be reached"),
        (httpx.ConnectTimeout("slow"), "cannot be reached"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_its_remedy(monkeypatch, error, says):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ValueError, match=says) as caught:
        list(hub.HubDataset("testset", Columns(), "x/y").read(["text"]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_hub_that_is_silent_is_waited_for_with_a_line_and_not_for_long(
    kind, monkeypatch, tmp_path, caplog
):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "answers", remedies.answers)
    monkeypatch.setattr(remedies, "_WAIT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        caplog.set_level(logging.INFO)
        ask = {
            "model": lambda: Pretrained("so/silent").tokenizer([], Store(tmp_path)),
            "dataset": lambda: list(local.corpora({"a": "hub:so/silent"})[0].rows),
        }[kind]
        began = time.monotonic()
        with pytest.raises(ValueError, match=r"hub.* cannot be reached; connect, or give a folder"):
            ask()
        assert time.monotonic() - began < 5
    assert "so/silent: asking the hub, for at most 0 s" in caplog.messages
