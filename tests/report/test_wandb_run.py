"""W&B runs, read back from the files that an offline run leaves."""

import json
import logging
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf
from wandb.proto import wandb_internal_pb2

from untrac_exp.report import result_files as files
from untrac_exp.report import wandb_run

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


def kind_of(data: bytes) -> str | None:
    return wandb_internal_pb2.Record.FromString(data).WhichOneof("record_type")


def read_back(path: Path) -> dict:
    """History rows, summary, config and run of a ``.wandb`` file."""
    found: dict = {"history": [], "summary": {}, "config": {}, "run": None}
    # W&B's own process writes the file, and its last records a moment after the run has finished.
    deadline = time.monotonic() + 30
    while not any(kind_of(data) == "exit" for data in records(path)):
        assert time.monotonic() < deadline, f"{path} has no end"
        time.sleep(0.1)

    def key(item):
        return item.key or "/".join(item.nested_key)

    for data in records(path):
        record = wandb_internal_pb2.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
            found["config"] |= {
                key(item): json.loads(item.value_json) for item in record.run.config.update
            }
        elif kind == "history":
            found["history"].append(
                {key(item): json.loads(item.value_json) for item in record.history.item}
            )
        elif kind == "summary":
            found["summary"] |= {
                key(item): json.loads(item.value_json) for item in record.summary.update
            }
    return found


def test_an_offline_run_holds_every_documented_field(made_up, tmp_path):
    outdir = made_up(methods={"untrac": 0.1}, testsets={"bias": 2}, seeds=1) / "untrac" / "seed0"
    outputs = tmp_path / "outputs"
    wandb_run.log_job(outdir, outputs)
    wandb.teardown()  # as at the end of the process: W&B's service writes what it still holds
    (path,) = (outputs / "wandb").glob("offline-run-*/run-*.wandb")
    found = read_back(path)
    run = found["run"]
    assert (run.run_group, run.job_type, run.display_name) == (
        "fabricated",
        "untrac",
        "untrac/seed0",
    )
    assert found["config"]["method"] == {"lr": 2e-4, "steps": 200}
    assert found["config"]["job"]["seed"] == 0

    metrics = files.read_metrics(outdir)
    summary = found["summary"]
    for statistic in ("pearson", "spearman", "pearson_pooled"):
        assert summary[f"agreement/bias/{statistic}"] == metrics["agreement"]["bias"][statistic]
    assert summary["ceiling/bias/pearson"] == metrics["ceiling"]["bias"]
    assert summary["attainable/bias/pearson"] == metrics["attainable"]["bias"]
    assert summary["cost/wall_s"] == metrics["cost"]["wall_s"]
    assert "cost/peak_device_bytes" not in summary

    steps = [row for row in found["history"] if "influence/bias/news" in row]
    assert [row["unlearning/step"] for row in steps] == [0, 20, 50, 100, 150, 200]
    trajectory = files.read_table(outdir / "trajectory.csv", files.TRAJECTORY)
    last = trajectory[(trajectory["corpus"] == "news") & (trajectory["step"] == 200)]
    assert steps[-1]["influence/bias/news"] == pytest.approx(last["influence"].mean())
    assert steps[-1]["loss/news"] == 5.0
    media = {key: value for row in found["history"] for key, value in row.items()}
    assert media["scores/_type"] == "table-file"
    assert media["scores/nrows"] == 16
    assert media["heatmap/bias/_type"] == "image-file"


def test_a_failure_is_one_warning_and_no_error(sweep_dir, tmp_path, monkeypatch, caplog):
    def refuse(**settings):
        raise RuntimeError("no space left\nsecond line")

    monkeypatch.setattr(wandb, "init", refuse)
    with caplog.at_level(logging.WARNING):
        wandb_run.log_job(sweep_dir / "untrac" / "seed0", tmp_path)
    (record,) = caplog.records
    assert "no space left" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_disabled_does_nothing_and_another_word_is_an_error(tmp_path):
    wandb_run.log_job(tmp_path / "nowhere", tmp_path, mode="disabled")
    with pytest.raises(ValueError, match=r"logger\.mode=ofline: choose one of"):
        wandb_run.log_job(tmp_path, tmp_path, mode="ofline")


def test_online_needs_a_word_and_no_login_is_one(monkeypatch, tmp_path):
    assert wandb_run._mode("online") == "online"
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert wandb_run._mode("auto") == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert wandb_run._mode("auto") == "online"
    assert wandb_run._mode("offline") == "offline"


def test_history_of_a_method_without_steps_is_empty(sweep_dir):
    outdir = sweep_dir / "graddot" / "seed0"
    assert wandb_run.history(wandb_run.collect(outdir)).empty
    wandb_run.write_history(outdir)
    assert not (outdir / "history.csv").exists()


def test_history_csv_has_the_same_fields(sweep_dir):
    outdir = sweep_dir / "untrac" / "seed0"
    wandb_run.write_history(outdir)
    header = (outdir / "history.csv").read_text().splitlines()[0].split(",")
    assert header[0] == "unlearning/step"
    assert {"influence/toxicity/wiki", "loss/wiki"} <= set(header)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_logger_can_be_called_with_a_job(path, sweep_dir, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(wandb_run, "_log", lambda *arguments: seen.append(arguments))
    node = OmegaConf.create({"outputs": str(tmp_path), "logger": yaml.safe_load(path.read_text())})
    instantiate(node.logger)(outdir=sweep_dir / "untrac" / "seed0")
    assert len(seen) == (path.stem == "wandb")
