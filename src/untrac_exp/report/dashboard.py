"""A W&B workspace for the runs of one sweep: ``python -m untrac_exp.report.dashboard DIRECTORY``.

Writes the workspace definition to ``dashboard.json`` in the sweep's directory without network
access; ``--publish`` sends it to W&B. Needs the extra ``dashboard``. `docs/wandb.md` documents the
fields.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from untrac_exp.report.collect import collect
from untrac_exp.report.result_files import write_text
from untrac_exp.report.results import Sweep

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ImportError:
    wr = ws = None

_COSTS = ("wall_s", "backward_tokens", "peak_rss_bytes")


def workspace(sweep: Sweep, entity: str, project: str) -> Any:
    """Build the workspace: method comparison, trajectories, heat maps, cost, pretraining."""
    testsets = sweep.testsets
    compared = testsets if len(sweep.truth) else []
    bars = [
        f"{field}/{testset}/{name}"
        for testset in compared
        for field, name in (
            ("agreement", "pearson"), ("agreement", "spearman"),
            ("attainable", "pearson"), ("ceiling", "pearson"),
        )
    ]  # fmt: skip
    lines = {f"influence on {name}": f"^influence/{re.escape(name)}/" for name in testsets}
    lines["forget-set loss"] = "^loss/"
    panels = {
        "Method comparison": [*map(_bar, bars), wr.WeavePanelSummaryTable(table_name="scores")],
        "Trajectories": [
            wr.LinePlot(title=title, x="unlearning/step", metric_regex=regex, title_y="nats")
            for title, regex in lines.items()
        ],
        "Heat maps": [
            wr.MediaBrowser(title=testset, media_keys=[f"heatmap/{testset}"], num_columns=2)
            for testset in testsets
        ],
        "Cost": [
            wr.ScatterPlot(
                title=f"agreement against {cost}, {testset}",
                x=wr.SummaryMetric(f"cost/{cost}"),
                y=wr.SummaryMetric(f"agreement/{testset}/pearson"),
                log_x=True,
            )
            for testset in compared
            for cost in _COSTS[:2]
        ]
        + [_bar(f"cost/{cost}") for cost in _COSTS],
        "Pretraining": [
            wr.LinePlot(title="loss of θ0", x="pretraining/step", y=["pretraining/loss"]),
            _bar("warnings"),
        ],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"{sweep.experiment}, {sweep.scale}",
        sections=[
            ws.Section(name=name, panels=shown, is_open=name not in ("Cost", "Pretraining"))
            for name, shown in panels.items()
        ],
        runset_settings=ws.RunsetSettings(filters=[ws.Metric("Group") == sweep.experiment]),
    )


def definition(built: Any) -> dict[str, Any]:
    """Return the workspace as sent to W&B, in JSON types."""
    model: dict[str, Any] = built._to_model().model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    return model


def main(arguments: list[str] | None = None) -> int:
    """Build, write and optionally publish; print one line and return 1 on error."""
    parser = argparse.ArgumentParser(
        prog="python -m untrac_exp.report.dashboard", description=__doc__.split("\n")[0]
    )
    parser.add_argument("directory", type=Path, help="a sweep, such as outputs/toxicity/mini")
    parser.add_argument("--project", default="untrac_exp")
    parser.add_argument("--entity", default="", help="user or team at W&B; needed by --publish")
    parser.add_argument("--publish", action="store_true", help="publish it to W&B")
    given = parser.parse_args(arguments)
    try:
        if ws is None:
            raise ValueError(
                "wandb-workspaces is not installed; run pip install 'untrac-exp[dashboard]'"
            )
        if given.publish and not given.entity:
            raise ValueError("--publish needs --entity, the user or team at W&B to publish for")
        built = workspace(collect(given.directory), given.entity, given.project)
        text = json.dumps(definition(built), indent=1, ensure_ascii=False)
        print(write_text(given.directory / "dashboard.json", text + "\n"))
        if given.publish:
            print(built.save().url)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _bar(field: str) -> Any:
    """Compare the mean of a field over each method's runs."""
    return wr.BarPlot(title=field, metrics=[field], groupby="job.method", groupby_aggfunc="mean")


if __name__ == "__main__":
    sys.exit(main())
