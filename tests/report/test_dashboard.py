"""The dashboard is built offline from documented fields."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.report.test_wandb_run import documented, pattern
from untrac_exp.report import dashboard


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


def test_the_dashboard_is_built_offline_of_documented_fields(sweep_dir, capsys, monkeypatch):
    pytest.importorskip("wandb_workspaces", reason="needs the extra dashboard")
    monkeypatch.setattr("socket.socket.connect", None)
    assert dashboard.main([str(sweep_dir)]) == 0
    path = sweep_dir / "dashboard.json"
    assert capsys.readouterr().out.strip() == str(path)
    spec = json.loads(path.read_text())
    names = [*values(spec, "metrics"), *values(spec, "mediaKeys")]
    used = {name for group in names for name in group}
    used |= {str(x) for key in ("xAxis", "yAxis") for x in values(spec, key)}
    used = {name.removeprefix("summary:") for name in used}
    used -= {"_step"}  # W&B's own, the default of the whole workspace
    assert {"agreement/bias/pearson", "heatmap/toxicity", "cost/wall_s"} <= used
    assert '"fabricated"' in path.read_text().split('"filters"', 1)[1]
    patterns = [pattern(field) for field in documented()]
    for name in used:
        assert any(one.fullmatch(name) for one in patterns), f"{name} is not documented"
    regexes = [re.compile(one) for one in values(spec, "metricRegex")]
    assert any(one.match("influence/bias/wiki") for one in regexes)
    assert any(one.match("loss/wiki") for one in regexes)
    sections = [part["name"] for parts in values(spec, "sections") for part in parts]
    assert {"Method comparison", "Curves", "Heat maps"} <= set(sections)


def test_what_is_missing_is_one_line(sweep_dir, capsys, monkeypatch):
    assert dashboard.main([str(sweep_dir), "--publish"]) == 1
    monkeypatch.setattr(dashboard, "ws", None)
    assert dashboard.main([str(sweep_dir)]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 2
    assert "untrac-exp[dashboard]" in error[1]
