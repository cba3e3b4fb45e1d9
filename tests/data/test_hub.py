import datasets
import httpx
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import errors

from untrac_exp.data.base import Row
from untrac_exp.data.sources import hub

TEXTS = [f"text number {i}" for i in range(50)]


@pytest.fixture
def pile(tmp_path, repository):
    """A dataset with two configs, with the columns of the Pile's splits on the hub."""
    table = datasets.Dataset.from_dict({"text": [*TEXTS, "", None, "  \n"], "domain": ["x"] * 53})
    other = datasets.Dataset.from_dict({"text": ["a mail"], "domain": ["y"]})
    return repository(tmp_path / "pile", {("Pile-CC", "train"): table, ("Enron", "train"): other})


def corpus(path, **settings):
    entry = {"path": path, "config": "Pile-CC", **settings}
    [found] = hub.corpora({"pile_cc": entry}, seed=3, buffer_size=10)
    return found


def test_every_text_comes_once_and_empty_ones_do_not(pile):
    found = corpus(pile)
    assert found.name == "pile_cc"
    assert sorted(row.target for row in found.rows) == sorted(TEXTS)
    assert all(row.input == "" for row in found.rows)


def test_the_order_is_the_seeds(pile):
    rows = list(corpus(pile).rows)
    assert rows == list(corpus(pile).rows)
    [other] = hub.corpora({"a": {"path": pile, "config": "Pile-CC"}}, seed=4, buffer_size=10)
    assert rows != list(other.rows)
    assert rows != [Row(text) for text in TEXTS]


def test_rows_can_be_read_again_and_in_part(pile):
    rows = corpus(pile).rows
    assert next(iter(rows)) == next(iter(rows))


def test_the_fingerprint_tells_sources_apart_without_reading_them():
    entries = [
        {"path": "not/there"},
        {"path": "not/there", "config": "x"},
        {"path": "not/there", "revision": "abc"},
        {"path": "not/there", "split": "test"},
        {"path": "not/there", "column": "body"},
        {"path": "not/there", "buffer_size": 2},
        {"path": "not/elsewhere"},
    ]
    found = {hub.corpora({"a": entry}, seed=s)[0].fingerprint for entry in entries for s in (0, 1)}
    assert len(found) == 2 * len(entries)
    [one], [same] = (hub.corpora({name: entries[0]}) for name in ("a", "b"))
    assert one.fingerprint == same.fingerprint  # whatever it is called


def test_a_corpus_of_a_preset_can_be_taken_out(pile):
    assert hub.corpora({"pile_cc": None}) == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"config": "Pile-XX"},
            r"'Pile-XX' not found.*'Pile-CC'.*set corpora.datasets.pile_cc.config",
        ),
        ({"config": None}, r"set corpora.datasets.pile_cc.config"),
        ({"split": "test"}, r"set corpora.datasets.pile_cc.split"),
        ({"column": "body"}, r"no column 'body' but text, domain"),
        ({"colum": "text"}, r"corpora.datasets.pile_cc: .*'colum'.* it takes path, config"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named_in_one_line(pile, settings, says):
    with pytest.raises(ValueError, match=says) as caught:
        list(corpus(pile, **settings).rows)
    assert "\n" not in str(caught.value)
    assert "corpora.datasets.pile_cc" in str(caught.value)


def test_a_folder_without_data_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no data files; set corpora.datasets.pile_cc.path"):
        list(corpus(str(tmp_path / "empty"), config=None).rows)


def response(status):
    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co"))


def chained(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            chained(
                DatasetNotFoundError("Dataset 'x/y' is a gated dataset on the Hub."),
                errors.GatedRepoError("403", response=response(403)),
            ),
            r"'x/y' is gated; accept its terms at https://huggingface.co/datasets/x/y and set HF_T",
        ),
        (errors.GatedRepoError("401", response=response(401)), "set HF_TOKEN"),
        (
            DatasetNotFoundError("Dataset 'x/y' doesn't exist on the Hub"),
            "set testset.path to another",
        ),
        (errors.RepositoryNotFoundError("404", response=response(404)), "no dataset 'x/y'"),
        (
            DatasetNotFoundError("Revision 'v9' doesn't exist for dataset 'x/y' on the Hub."),
            "no revision 'main'; set testset.revision",
        ),
        (
            RuntimeError("Dataset scripts are no longer supported, but found y.py"),
            "is a loading script",
        ),
        (ConnectionError("Couldn't reach 'x/y' on the Hub (ConnectError)"), "cannot reach the hub"),
        (errors.OfflineModeIsEnabled("offline"), "cannot reach the hub for 'x/y'; connect, or set"),
        (httpx.ConnectTimeout("slow"), "cannot reach the hub"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_its_remedy(monkeypatch, error, says):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ValueError, match=says) as caught:
        list(hub.Source("x/y", key="testset").read(["text"]))
    assert "\n" not in str(caught.value)


def test_without_network_the_remedy_comes_at_once(monkeypatch):
    """Through the real `load_dataset`, with the switch that keeps it off the network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="cannot reach the hub for 'some/where'; connect"):
        list(hub.Source("some/where", key="testset").read(["text"]))


def test_other_errors_are_not_hidden(monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(ZeroDivisionError):
        list(hub.Source("x/y").read(["text"]))
