"""W&B runs, read back from the files that an offline run leaves."""

import json
import logging
import pickle
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from untrac_exp.report import result_files as files
from untrac_exp.report import wandb_run
from untrac_exp.report.collect import collect
from untrac_exp.report.loggers import Logger
from untrac_exp.runtime.cost import Meter

CONF = Path(__file__).parents[2] / "conf" / "logger"


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def records(path: Path) -> Iterator[bytes]:
    """Records of a ``.wandb`` file: a LevelDB log after a header of seven bytes."""
    content, position, record = path.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:  # no room for another header: the block is padded
            position += left
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def values(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_back(path: Path) -> dict:
    """History rows, summary, config, run, exit code and artifacts of a ``.wandb`` file."""
    found: dict = {"history": [], "summary": {}, "config": {}, "artifacts": {}}
    # W&B's own process writes the file, and its last records a moment after the run has finished.
    deadline = time.monotonic() + 30
    while "exit_code" not in found:
        assert time.monotonic() < deadline, f"{path} has no end"
        time.sleep(0.1)
        found |= {"history": [], "artifacts": {}}
        for data in records(path):
            record = wandb_internal_pb2.Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                found["run"] = record.run
                found["config"] |= values(record.run.config.update)
            elif kind == "history":
                found["history"].append(values(record.history.item))
            elif kind == "exit":
                found["exit_code"] = record.exit.exit_code
            elif kind == "artifact":
                artifact = record.artifact
                found["artifacts"][artifact.name] = list(artifact.manifest.contents)
            elif kind == "summary":
                found["summary"] |= values(record.summary.update)
    return found


@pytest.fixture
def outdir(made_up):
    return made_up(methods={"untrac": 0.1}, testsets={"bias": 2}, seeds=1) / "untrac" / "seed0"


@pytest.fixture
def theta0(tmp_path):
    """The folder of a model that was trained for 1200 steps in 60 seconds."""
    folder = tmp_path / "store" / "model" / "0123456789abcdef"
    folder.mkdir(parents=True)
    lines = [f"{i},{7 - i / 600}" for i in range(1, 1201)]
    (folder / "loss.csv").write_text("\n".join(["step,loss", *lines]) + "\n")
    Meter(60.0, 2400, 2400).save(folder / "cost.json")
    return folder


def send_curves(live: Logger, outdir: Path) -> None:
    """Log the unlearning runs of a job, as they would arrive one by one."""
    trajectory = pd.read_csv(outdir / "trajectory.csv")
    own = pd.read_csv(outdir / "own_loss.csv")
    own = own.assign(seconds=own["step"] / 10, flops=own["step"] * 1e9)
    for corpus, rows in trajectory.groupby("corpus"):
        of_corpus = own[own["unlearned"] == corpus].drop(columns="unlearned")
        live.curves(str(corpus), of_corpus, rows, {"bias": 2})


@pytest.fixture
def job(outdir, theta0, tmp_path):
    """A finished job with everything that can be logged, read back."""
    outputs = tmp_path / "outputs"
    logger = wandb_run.WandbLogger(outputs, "offline")
    with logger.job(files.read_metrics(outdir), outdir) as live:
        for step in (1199, 1200):
            live.theta0_logger.log_metrics({"loss": 5.0, "rate": 1e-3, "flops": 36.0 * step}, step)
        live.theta0(theta0)
        live.artifact("theta0", [theta0])
        live.artifact("truth", [theta0])
        tokens = [tmp_path / "store" / "tokens" / name for name in "ab"]
        for folder in tokens:
            folder.mkdir(parents=True)
        live.artifact("data", tokens, is_input=True)
        send_curves(live, outdir)
        assert type(pickle.loads(pickle.dumps(live))) is Logger, "none is sent to workers"
    return finished(outputs)


def finished(outputs: Path) -> dict:
    wandb.teardown()  # as at the end of the process: W&B's service writes what it still holds
    (path,) = (outputs / "wandb").glob("offline-run-*/run-*.wandb")
    return read_back(path)


def test_an_offline_run_has_curves_results_and_lineage(job, outdir, theta0):
    run, summary = job["run"], job["summary"]
    assert (run.run_group, run.job_type) == ("fabricated", "untrac")
    assert run.display_name == "untrac/seed0"
    assert job["config"]["method"] == {"lr": 2e-4, "steps": 200}
    assert job["config"]["job"]["seed"] == 0
    assert job["exit_code"] == 0
    metrics = files.read_metrics(outdir)
    for statistic in ("pearson", "spearman", "pearson_pooled"):
        assert summary[f"agreement/bias/{statistic}"] == metrics["agreement"]["bias"][statistic]
    assert summary["ceiling/bias/pearson"] == metrics["ceiling"]["bias"]
    assert summary["attainable/bias/pearson"] == metrics["attainable"]["bias"]
    assert summary["cost/wall_s"] == metrics["cost"]["wall_s"]
    assert "cost/peak_device_bytes" not in summary

    steps = [row for row in job["history"] if "influence/bias/news" in row]
    assert [row["unlearning/step"] for row in steps] == [0, 20, 50, 100, 150, 200]
    trajectory = pd.read_csv(outdir / "trajectory.csv")
    last = trajectory[(trajectory["corpus"] == "news") & (trajectory["step"] == 200)]
    assert steps[-1]["influence/bias/news"] == pytest.approx(last["influence"].mean())
    spent = {"unlearning/seconds": 20.0, "unlearning/flops": 2e11, "loss/news": 5.0}
    assert steps[-1].items() >= spent.items()
    media = {key: value for row in job["history"] for key, value in row.items()}
    assert media["scores/_type"] == "table-file"
    assert media["scores/nrows"] == 16
    names = sorted(name.split("-")[0] for name in job["artifacts"])
    assert names == ["data", "run", "theta0", "truth"]  # run: W&B's own, of the table of scores
    entries = job["artifacts"][f"theta0-{theta0.name}"]
    assert {entry.path.split("/")[-1] for entry in entries} >= {"loss.csv", "cost.json"}
    assert all(entry.ref.startswith(theta0.as_uri()) for entry in entries)  # nothing is uploaded


def test_pretraining_is_logged_live_and_else_from_the_store(job):
    rows = [row for row in job["history"] if "pretraining/loss" in row]
    live = [row for row in rows if "pretraining/rate" in row]
    stored = [row for row in rows if "pretraining/rate" not in row]
    assert [row["pretraining/step"] for row in live] == [1199, 1200]
    assert live[0]["pretraining/loss"] == 5.0
    assert max(row["pretraining/step"] for row in stored) < 1199
    assert len(stored) == 599  # every second
    for row in stored:
        step = row["pretraining/step"]
        assert row["pretraining/loss"] == pytest.approx(7 - step / 600)
        assert row["pretraining/seconds"] == pytest.approx(60 * step / 1200)


def test_influences_wait_for_all_subsets(tmp_path, monkeypatch):
    """UnTrac-Inv unlearns one test subset at a time; an influence is the mean over subsets."""
    logger, history = wandb_run.WandbLogger(tmp_path, "disabled"), []
    monkeypatch.setattr(logger, "log", history.append)
    own = pd.DataFrame({"step": [0, 5], "loss": [3.0, 4.0], "seconds": [0, 1], "flops": [0, 1]})
    for subset, influence in (("a", 1.0), ("b", 3.0)):
        rows = [("news", "bias", subset, 5, influence)]
        trajectory = pd.DataFrame(rows, columns=files.TRAJECTORY)
        logger.curves(f"bias/{subset}", own, trajectory, {"bias": 2})
        assert any("influence/bias/news" in row for row in history) == (subset == "b")
    assert history[-1]["influence/bias/news"] == 2.0
    assert [row["unlearning/step"] for row in history] == [0, 5, 0, 5]
    fields = {"loss/bias/a", "loss/bias/b", "unlearning/seconds", "unlearning/flops"}
    assert fields <= {name for row in history for name in row}


def test_a_job_that_fails_is_a_failed_run_with_its_curves(outdir, tmp_path):
    logger = wandb_run.WandbLogger(tmp_path / "outputs", "offline")

    with suppress(KeyboardInterrupt), logger.job(files.read_metrics(outdir), outdir) as live:
        send_curves(live, outdir)
        raise KeyboardInterrupt
    run = finished(tmp_path / "outputs")
    assert run["exit_code"] == 1
    assert any("loss/news" in row for row in run["history"])
    assert not any(name.startswith("agreement") for name in run["summary"])


def test_a_sweep_is_a_run_with_summary_and_page(sweep_dir, tmp_path):
    sweep = collect(sweep_dir)
    page = tmp_path / "report.html"
    page.write_text("<p>a page</p>")
    wandb_run.WandbLogger(tmp_path / "outputs", "offline").sweep(sweep, page)
    run = finished(tmp_path / "outputs")
    assert (run["run"].run_group, run["run"].job_type) == ("fabricated", "sweep")
    media = {key: value for row in run["history"] for key, value in row.items()}
    assert media["summary/_type"] == "table-file"
    assert media["summary/nrows"] == len(sweep.summary)
    assert media["report/_type"] == "html-file"
    row = sweep.summary.set_index(["label", "testset"]).loc[("untrac", "bias")]
    for name in ("pearson_mean", "pearson_std", "pearson_low", "pearson_high", "spearman_mean"):
        assert run["summary"][f"untrac/bias/{name}"] == row[name]


def test_a_failure_is_one_warning_and_no_error(outdir, tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise RuntimeError("no space left\nsecond line")

    full = Mock(offline=True, log=refuse, define_metric=refuse, finish=refuse)
    for init in (refuse, lambda **_: full):
        monkeypatch.setattr(wandb, "init", init)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            logger = wandb_run.WandbLogger(tmp_path)
            with logger.job(files.read_metrics(outdir), outdir) as live:
                send_curves(live, outdir)
        (record,) = caplog.records
        assert "no space left" in record.getMessage()
        assert "\n" not in record.getMessage()


def test_online_needs_a_word_and_no_login_is_one(monkeypatch, tmp_path):
    def where(mode):
        return wandb_run.WandbLogger(tmp_path, mode).where

    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert [where("online"), where("auto")] == ["online", "offline"]
    monkeypatch.setenv("WANDB_MODE", "online")
    assert [where("auto"), where("offline")] == ["online", "offline"]
