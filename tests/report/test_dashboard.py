"""The documented fields, the fields of offline runs and those of the dashboard are the same."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.test_wandb_run import read_back
from untrac_exp.report import dashboard, wandb_run
from untrac_exp.report import result_files as files
from untrac_exp.report.collect import collect

DOCS = Path(__file__).parents[2] / "docs" / "wandb.md"


def documented() -> dict[str, str]:
    """Field -> kind, from the one table."""
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \|", DOCS.read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)) > 10
    return dict(rows)


def pattern(field: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"<\w+>", ".+", field))


@pytest.fixture
def with_curve(sweep_dir, tmp_path):
    """A sweep whose jobs name the folder of θ0, with a loss curve of 1200 steps."""
    theta0 = tmp_path / "theta0"
    theta0.mkdir()
    lines = [f"{i},{7 - i / 600}" for i in range(1, 1201)]
    (theta0 / "loss.csv").write_text("\n".join(["step,loss", *lines]) + "\n")
    for path in sweep_dir.glob("*/seed*"):
        files.write_metrics(path, {**files.read_metrics(path), "theta0": str(theta0)})
    return sweep_dir


def logged(job: Path, outputs: Path) -> dict:
    wandb_run.log_job(job, outputs, mode="offline")
    (path,) = outputs.glob("wandb/offline-run-*/*.wandb")
    return read_back(path)


def test_an_offline_run_holds_every_documented_field_and_no_other(with_curve, tmp_path):
    found = logged(with_curve / "untrac" / "seed0", tmp_path / "out")
    rows = [{key.split("/_type")[0] if key.endswith("/_type") else key for key in row}
            for row in found["history"]]  # fmt: skip
    media = {
        key.rpartition("/")[0]
        for row in found["history"]
        for key in row
        if key.startswith(("scores/", "heatmap/"))
    }
    media = {re.sub(r"/(_latest_artifact_path|artifact_path)$", "", key) for key in media}
    history = {key for row in rows for key in row if not key.startswith("_")}
    history = {key for key in history if not key.startswith(("scores", "heatmap"))}
    run = {
        "group": found["run"].run_group,
        "job_type": found["run"].job_type,
        "display_name": found["run"].display_name,
    }
    summary = {
        key
        for key in found["summary"]
        if key not in history and not key.startswith(("_", "scores", "heatmap"))
    }
    logged_fields = {
        "run": set(run), "history": history, "summary": summary, "media": media,
        "config": {key for key in found["config"] if not key.startswith("_")},
    }  # fmt: skip
    assert all(run.values())
    for kind, names in logged_fields.items():
        patterns = [pattern(field) for field, its in documented().items() if its == kind]
        for one in patterns:
            assert any(one.fullmatch(name) for name in names), f"{one.pattern} is not in the run"
        for name in names:
            assert any(one.fullmatch(name) for one in patterns), f"{name} is not documented"


def test_the_loss_of_pretraining_is_averaged_to_few_points(with_curve):
    curve = wandb_run.pretraining(collect(with_curve / "untrac" / "seed0"))
    assert len(curve) == 500
    assert curve["pretraining/step"].iloc[-1] == 1200
    # A line's mean over equal stretches keeps its slope and its middle.
    assert curve["pretraining/loss"].mean() == pytest.approx(7 - 1200.5 / 2 / 600, abs=1e-2)


def test_a_job_without_a_curve_logs_none(sweep_dir):
    assert wandb_run.pretraining(collect(sweep_dir / "untrac" / "seed0")).empty


def values(node, key: str) -> Iterator:
    """Whatever a definition has under a key, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(node, list):
        for item in node:
            yield from values(item, key)


def test_the_dashboard_is_built_offline_of_documented_fields(with_curve, capsys, monkeypatch):
    pytest.importorskip("wandb_workspaces", reason="needs the extra dashboard")
    monkeypatch.setattr("socket.socket.connect", None)
    assert dashboard.main([str(with_curve)]) == 0
    path = with_curve / "dashboard.json"
    assert capsys.readouterr().out.strip() == str(path)
    spec = json.loads(path.read_text())
    names = [*values(spec, "metrics"), *values(spec, "mediaKeys")]
    used = {name for group in names for name in group}
    used |= {str(x) for key in ("xAxis", "yAxis") for x in values(spec, key)}
    used = {name.removeprefix("summary:") for name in used}
    used -= {"_step"}  # W&B's own, the default of the whole workspace
    assert {"agreement/bias/pearson", "heatmap/toxicity", "pretraining/loss"} <= used
    assert '"scores"' in path.read_text()
    assert '"fabricated"' in path.read_text().split('"filters"', 1)[1]
    patterns = [pattern(field) for field in documented()]
    for name in used:
        assert any(one.fullmatch(name) for one in patterns), f"{name} is not documented"
    regexes = [re.compile(one) for one in values(spec, "metricRegex")]
    assert any(one.match("influence/bias/wiki") for one in regexes)
    assert any(one.match("loss/wiki") for one in regexes)
    sections = [part["name"] for parts in values(spec, "sections") for part in parts]
    assert {"Method comparison", "Trajectories", "Heat maps", "Cost"} <= set(sections)


def test_what_is_missing_is_one_line(sweep_dir, capsys, monkeypatch):
    assert dashboard.main([str(sweep_dir), "--publish"]) == 1
    monkeypatch.setattr(dashboard, "ws", None)
    assert dashboard.main([str(sweep_dir)]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 2
    assert "untrac-exp[dashboard]" in error[1]
