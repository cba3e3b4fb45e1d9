"""Rounds within a budget, on a clock of their own; and what a stopped command leaves."""

import json
import logging
import time

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from tests.command import command, overrides
from tests.conftest import Linear
from tests.trace_checkpoints import BAD, TEXTS, save
from untrac_exp import job, trace
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Influences, Method, Subject, Subset
from untrac_exp.methods.common.budget import attribute, budget_s, log_round
from untrac_exp.report import callback
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.store import Store

T = Subset("t", "all")


def texts(n, width, seed):
    """Of 1 to `width` random tokens each."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 9, (n, width), dtype=torch.int32, generator=generator)
    lengths = torch.randint(2, width + 1, (n,), dtype=torch.int32, generator=generator)
    there = torch.arange(width) < lengths[:, None]
    return Encoded(ids * there, ids.masked_fill(~there, -100), lengths)


@pytest.fixture
def subject(tmp_path):
    corpora = {"short": texts(900, 20, 0), "long": texts(60, 600, 1), "few": texts(3, 20, 2)}
    model = Linear().float()
    model.vocab = 1_000  # so that its loss is clearly below a uniform guess's
    return Subject(
        lambda: model, corpora, {T: texts(300, 30, 3)}, [], TrainerSettings(),
        Store(tmp_path), {}, trained_on=corpora,
    )  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


class Reading(Method):
    """Reads everything once, at so many seconds a token."""

    def __init__(self, clock, seconds=1.0):
        self.clock, self.seconds, self.seen = clock, seconds, []

    def influences(self, subject):
        datasets = {**subject.corpora, **subject.subsets}
        self.seen.append(datasets)
        read = sum(data.read for data in datasets.values())
        self.clock[0] += self.seconds * read
        subject.meter.forward(read)
        rows = [(name, "t", "all", float(read + i)) for i, name in enumerate(("short", "long"))]
        return Influences(pd.DataFrame(rows, columns=["corpus", "testset", "subset", "influence"]))


def rows(data):
    return [tuple(row[:n]) for row, n in zip(data.input_ids.tolist(), data.lengths, strict=True)]


@pytest.mark.parametrize(
    ("left", "expected"), [(6_000, [512, 1024]), (13_000, [512, 2048]), (30_000, [512, 4096])]
)
def test_rounds_grow_as_the_time_allows_and_hold_the_texts_of_the_last(
    subject, clock, left, expected
):
    method = Reading(clock)
    rounds = list(attribute(method, subject, 1e9, clock[0] + left))
    sizes = [done["tokens"] for done in rounds[-1].rounds]
    assert sizes == expected
    for before, after in zip(method.seen, method.seen[1:], strict=False):
        for name, data in before.items():
            assert set(rows(data)) <= set(rows(after[name]))
    for name in ("short", "long", T):
        for tokens, datasets, done in zip(sizes, method.seen, rounds, strict=True):
            data = {**subject.corpora, **subject.subsets}[name]
            assert rows(datasets[name]) == rows(data.select(done.rows[name]))
            assert tokens <= datasets[name].read < tokens + 600 or len(data) == len(done.rows[name])
    assert len(method.seen[0]["few"]) == 3
    assert subject.meter.forward_tokens == sum(
        data.read for datasets in method.seen for data in datasets.values()
    )
    assert [done.is_last for done in rounds] == [False] * (len(rounds) - 1) + [True]


@pytest.mark.parametrize("budget", [None, 1e9])
def test_the_last_round_reads_all_and_is_the_method_itself(subject, clock, budget):
    method = Reading(clock)
    done = list(attribute(method, subject, budget, clock[0] + 1e9))[-1]
    read = sum(data.read for data in (*subject.corpora.values(), *subject.subsets.values()))
    assert done.influences.scores["influence"][0] == read
    assert done.is_last
    assert not done.influences.partial
    assert not done.influences.warnings
    assert not done.rows
    assert bool(done.rounds) == (budget is not None)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("left", [5000.0, 20000.0])
def test_the_time_is_kept_and_used(subject, clock, left, seconds):
    start = clock[0]
    done = list(attribute(Reading(clock, seconds), subject, left, start + left))[-1]
    assert clock[0] - start <= 1.02 * left  # the last texts of a sample are whole
    if not done.rows:
        return
    assert clock[0] - start + 2 * done.rounds[-1]["seconds"] > left
    [warning] = done.influences.warnings
    assert f"about {done.rounds[-1]['tokens']:,} tokens of each corpus and test subset" in warning
    assert "the next round takes about" in warning
    assert done.influences.partial


def test_each_round_is_a_line_and_its_ranking_others(subject, clock, caplog):
    caplog.set_level(logging.INFO)
    for done in attribute(Reading(clock), subject, 1e9, clock[0] + 12_000):
        log_round("graddot", done)
    first, ranking, *_, last, _ = caplog.messages
    assert first.startswith("graddot: round 1, about 512 tokens of each corpus and test subset, to")
    assert first.endswith("; a larger one follows, Ctrl-C keeps this ranking")
    assert ranking.startswith("  t: long +")
    assert "short +" in ranking
    assert "Ctrl-C" not in last


def test_jobs_of_a_sweep_share_the_time_that_is_left(clock, monkeypatch):
    began = clock[0]
    monkeypatch.setenv(callback.JOBS, "4")
    for number, spent, share in ((0, 30, 242.5), (1, 130, 290), (3, 900, 100), (3, 5000, 0)):
        hydra = OmegaConf.create({"mode": None, "job": {"num": number}})
        hydra.mode = job.RunMode.MULTIRUN
        monkeypatch.setattr(job.HydraConfig, "get", lambda hydra=hydra: hydra)
        clock[0] = began + spent
        assert job.share_of_budget(1020.0, began) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "device", "seconds"),
    [("90s", "cuda", 90), ("5min", "cuda", 300), ("1.5h", "cuda", 5400), ("auto", "cpu", 600),
     ("auto", "cuda", None), (None, "cpu", None)],
)  # fmt: skip
def test_times_are_read(text, device, seconds):
    assert budget_s(text, torch.device(device)) == seconds


@pytest.mark.parametrize("budget", ["300", 300, "5 minutes", "0s", "-1s", True])
def test_what_is_no_time_is_one_line(budget):
    with pytest.raises(ValueError, match=r"budget=.*: not a duration; write it as 90s, 5min or 2h"):
        trace("nowhere", None, {"a": ["b"]}, {"t": ["c"]}, budget=budget)


# ----------------------------------------------------------------------------- the command
STOPPED = """
from pathlib import Path

from untrac_exp.methods.ngram import NGram


class Stopped(NGram):
    def influences(self, subject):
        again = Path("again")
        if sum(map(len, subject.subsets.values())) > 250 and not again.exists():
            again.touch()
            raise KeyboardInterrupt
        return super().influences(subject)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save(tmp_path / "model", "llama")
    bad = [f"{text} {i}" for i in range(200) for text in BAD[:3]]
    for name, lines in {"forum": TEXTS["forum"], "wiki": TEXTS["wiki"] * 40}.items():
        (tmp_path / f"{name}.txt").write_text("\n\n".join(lines))
    (tmp_path / "bad.txt").write_text("\n".join(bad))
    (tmp_path / "stopping.py").write_text(STOPPED)
    (tmp_path / "conf" / "method").mkdir(parents=True)
    node = {"_target_": "stopping.Stopped", "order": 2}
    (tmp_path / "conf" / "method" / "stopped.yaml").write_text(json.dumps(node))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_stopped_command_leaves_its_answer_and_goes_on(folder):
    bad = (folder / "bad.txt").read_text().splitlines()
    settings = {
        "model.path": "./model", "corpora.paths": "{forum: forum.txt, wiki: wiki.txt}",
        "testset.paths": "{bad: bad.txt}", "method": "stopped", "trainer.accelerator": "cpu",
        "threads": "1", "budget": "2h", "logger": "none",
    }  # fmt: skip
    asked = ["+experiment=trace", *overrides(settings), "--config-dir", "conf"]
    ended = command(asked, folder)
    assert ended.status == 130, ended.err
    assert "the same command goes on from here" in ended.err
    [file] = (folder / "outputs" / "trace").rglob("metrics.json")
    metrics = json.loads(file.read_text())
    assert metrics["fingerprint"] is None
    assert metrics["budget_s"] == 7200
    assert metrics["rounds"][-1]["tokens"] < 10_000
    assert any("the next round takes about" in warning for warning in metrics["warnings"])
    [_] = (folder / "outputs" / "trace").rglob("report.html")
    assert "Which corpus made the model say bad?" in ended.out
    examples = pd.read_csv(file.with_name("examples.csv"))
    assert [bad[i] for i in examples["index"]] == examples["text"].tolist()

    ended = command(asked, folder)
    assert (ended.status, ended.err) == (0, ""), ended.out
    metrics = json.loads(file.read_text())
    assert metrics["fingerprint"]
    assert not any("the next round" in warning for warning in metrics["warnings"])
    assert "already there" in command(asked, folder).out


def test_who_stops_a_trace_keeps_the_ranking_so_far(folder):
    given = {name: folder / f"{name}.txt" for name in ("forum", "wiki")}
    scores = trace(
        folder / "model", None, given, {"bad": folder / "bad.txt"}, budget="2h", threads=1,
        **{"method._target_": "stopping.Stopped", "trainer.accelerator": "cpu"},
    )  # fmt: skip
    assert any("the next round takes about" in text for text in scores.attrs["warnings"])
    assert scores.attrs["rounds"]
    assert set(scores["corpus"]) == {"forum", "wiki"}
