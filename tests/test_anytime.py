"""Rounds within a budget, on a clock of their own; and what a stopped command leaves."""

import json
import time

import pandas as pd
import pytest
import torch

from tests.command import command, overrides
from tests.trace_checkpoints import BAD, TEXTS, save
from untrac_exp import trace
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Influences, Loader, Method, Subject, Subset, Tokens
from untrac_exp.methods.common import anytime
from untrac_exp.methods.common.anytime import Board, refine
from untrac_exp.methods.common.deadline import AUTO_S, budget_s
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


class Model(torch.nn.Linear):
    num_parameters = staticmethod(lambda: 500_000_000)


@pytest.fixture
def subject(tmp_path):
    corpora = {"short": texts(900, 20, 0), "long": texts(60, 600, 1), "few": texts(3, 20, 2)}
    return Subject(
        Loader(lambda: Model(1, 1)), corpora, {T: texts(300, 30, 3)}, [], TrainerSettings(),
        Store(tmp_path), {},
        trained_on=corpora,
    )  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(anytime, "measure_model", lambda model: 1e9)  # a token forward a second
    return now


class Reading(Method):
    """Reads everything once, at so many seconds a token."""

    def __init__(self, clock=None, seconds=1.0, after=lambda n: None):
        self.clock, self.seconds, self.after, self.seen = clock, seconds, after, []

    def tokens(self, work):
        return Tokens(work.once, 0)

    def influences(self, subject):
        datasets = {**subject.corpora, **subject.subsets}
        self.seen.append(datasets)
        self.after(len(self.seen))
        read = sum(data.read for data in datasets.values())
        if self.clock is not None:
            self.clock[0] += self.seconds * read
        subject.meter.forward(read)
        row = {"corpus": "short", "testset": "t", "subset": "all", "influence": float(read)}
        return Influences(pd.DataFrame([{**row, "ci_low": 0.0, "ci_high": 0.0}]))


def rows(data):
    return [tuple(row[:n]) for row, n in zip(data.input_ids.tolist(), data.lengths, strict=True)]


def test_rounds_double_and_hold_the_texts_of_the_last(subject, clock):
    method = Reading(clock)
    found = refine(method, subject, 1e9, clock[0] + 8 * 256, Board())
    sizes = [one["tokens"] for one in found.rounds["done"]]
    assert sizes == [128 * 2**i for i in range(len(sizes))]
    assert len(sizes) >= 2
    for before, after in zip(method.seen, method.seen[1:], strict=False):
        for name, data in before.items():
            width = int(data.lengths.max())  # of which long texts are cut
            assert set(rows(data)) <= {row[:width] for row in rows(after[name])}
            assert int(data.lengths.max()) <= 128
            assert name == "few" or len(data) >= 8 or data.read < 128
    for name in ("short", "long", T):
        for tokens, datasets in zip(sizes, method.seen, strict=True):
            assert tokens <= datasets[name].read < tokens + 128
    assert subject.meter.forward_tokens == sum(
        data.read for datasets in method.seen for data in datasets.values()
    )


def test_the_last_round_reads_all_and_is_the_method_itself(subject, clock):
    method = Reading(clock)
    found = refine(method, subject, 1e9, clock[0] + 1e8, Board())
    assert [one["whole"] for one in found.rounds["done"]] == [True]
    assert found.rounds["ended"] == "whole"
    assert found.answer.scores["influence"][0] == sum(
        data.read for data in (*subject.corpora.values(), *subject.subsets.values())
    )
    assert not found.answer.warnings
    assert not found.places


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("left", [1200.0, 5000.0, 20000.0])
def test_the_time_is_kept_and_used_and_the_first_answer_is_early(subject, clock, left, seconds):
    """Whether the machine is slower or faster than its measured rate."""
    start, first = clock[0], []

    class Watched(Board):
        def on_round_end(self, done, next_s, left_s):
            first.append(clock[0] - start)

    found = refine(Reading(clock, seconds), subject, left, start + left, Watched())
    assert clock[0] - start <= left
    assert first[0] <= max(left / 4, 128 * 5 * seconds)
    following = found.rounds["next"]
    assert (following is None) == found.rounds["done"][-1]["whole"]
    if following is not None:
        assert clock[0] - start + following["seconds"] > left
        assert "the next round takes about" in found.answer.warnings[0]


def test_a_round_that_does_not_end_in_time_is_given_up(subject, monkeypatch):
    monkeypatch.setattr(anytime, "measure_model", lambda model: 1e9)
    method = Reading(after=lambda n: time.sleep(20 if n > 1 else 0.05))
    start = time.time()
    found = refine(method, subject, 1.0, start + 1.0, Board())
    assert time.time() - start < 10
    assert len(method.seen) == 2
    assert (found.rounds["answer"], found.rounds["ended"]) == (1, "budget")


def test_what_cannot_fit_is_said_unless_it_must(subject, clock):
    with pytest.raises(anytime.TooLittleTimeError, match="the smallest round takes about"):
        refine(Reading(clock), subject, 10.0, clock[0] + 10, Board(), must=False)
    found = refine(Reading(clock), subject, 10.0, clock[0] + 10, Board())
    assert found.rounds["done"][0]["tokens"] == 128


def test_who_stops_it_keeps_the_answer_so_far(subject, clock):
    def stop(n):
        if n == 2:
            raise KeyboardInterrupt

    found = refine(Reading(clock, after=stop), subject, 1e9, clock[0] + 8 * 256, Board())
    assert found.interrupted
    assert (found.rounds["answer"], found.rounds["ended"]) == (1, "interrupt")
    assert found.answer.warnings[0].startswith("stopped by hand: the scores are from about 128 tok")
    method = Reading(clock, after=lambda n: stop(2))
    with pytest.raises(KeyboardInterrupt):
        refine(method, subject, 1e9, clock[0] + 8 * 256, Board())


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5min", 300), ("1.5h", 5400)])
def test_times_are_read(text, seconds):
    assert budget_s(text, torch.device("cuda")) == seconds


def test_auto_is_for_processors_alone():
    assert budget_s("auto", torch.device("cpu")) == AUTO_S
    assert budget_s("auto", torch.device("cuda")) is None
    assert budget_s(None) is None


@pytest.mark.parametrize("budget", ["300", 300, "5 minutes", "0s", "-1s", True])
def test_what_is_no_time_is_one_line(budget):
    with pytest.raises(ValueError, match=r"budget=.*: not a duration; write it as 90s, 5min or 2h"):
        trace("nowhere", None, {"a": ["b"]}, {"t": ["c"]}, budget=budget)


# ----------------------------------------------------------------------------- the command
STOPPED = """
from pathlib import Path

from untrac_exp.methods.base import Tokens
from untrac_exp.methods.ngram import NGram


class Stopped(NGram):
    def tokens(self, work):
        return Tokens(10**15, 0)  # so that the smallest round is the first

    def probing(self, tokens):
        return self

    def influences(self, subject):
        again = Path("again")
        if sum(map(len, subject.subsets.values())) > 250:
            if not again.exists():
                again.touch()
                raise KeyboardInterrupt
        return super().influences(subject)
"""


def test_a_stopped_command_leaves_its_answer_and_goes_on(tmp_path):
    save(tmp_path / "model", "llama")
    bad = [f"{text} {i}" for i in range(200) for text in BAD[:3]]
    for name, lines in {"forum": TEXTS["forum"], "wiki": TEXTS["wiki"] * 40, "bad": bad}.items():
        (tmp_path / f"{name}.txt").write_text("\n\n".join(lines))
    (tmp_path / "bad.txt").write_text("\n".join(bad))
    (tmp_path / "stopping.py").write_text(STOPPED)
    (tmp_path / "conf" / "method").mkdir(parents=True)
    node = {"_target_": "stopping.Stopped", "order": 2}
    (tmp_path / "conf" / "method" / "stopped.yaml").write_text(json.dumps(node))
    settings = {
        "model.path": "./model", "corpora.paths": "{forum: forum.txt, wiki: wiki.txt}",
        "testset.paths": "{bad: bad.txt}", "method": "stopped", "trainer.accelerator": "cpu",
        "threads": "1", "budget": "2h", "logger": "none",
    }  # fmt: skip
    asked = ["+experiment=trace", *overrides(settings), "--config-dir", "conf"]
    ended = command(asked, tmp_path)
    assert ended.status == 130, ended.err
    assert "the same command goes on from here" in ended.err
    [sweep] = (tmp_path / "outputs" / "trace").iterdir()
    folder = sweep / "stopped" / "seed0"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["fingerprint"] is None
    assert metrics["rounds"]["ended"] == "interrupt"
    assert metrics["rounds"]["next"]["seconds"] > 0
    assert (sweep / "report.html").exists()
    assert "Which corpus made the model say bad?" in ended.out
    examples = pd.read_csv(folder / "examples.csv")
    assert [bad[i] for i in examples["index"]] == examples["text"].tolist()

    ended = command(asked, tmp_path)
    assert (ended.status, ended.err) == (0, ""), ended.out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["rounds"]["ended"] == "whole"
    assert "already there" in command(asked, tmp_path).out
