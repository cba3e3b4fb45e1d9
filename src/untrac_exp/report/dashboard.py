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


def workspace(sweep: Sweep, entity: str, project: str) -> Any:
    """Build the workspace: method comparison, curves and heat maps."""
    testsets = sweep.testsets
    bars = [f"agreement/{testset}/pearson" for testset in testsets if sweep.has_truth]
    curves = {name: ("unlearning/step", f"^influence/{re.escape(name)}/") for name in testsets}
    curves["forget-set loss"] = ("unlearning/step", "^loss/")
    curves["loss of θ0"] = ("pretraining/step", "^pretraining/loss$")
    panels = {
        "Method comparison": [
            wr.BarPlot(title=bar, metrics=[bar], groupby="job.method", groupby_aggfunc="mean")
            for bar in (*bars, "cost/wall_s", "cost/backward_tokens")
        ],
        "Curves": [
            wr.LinePlot(title=title, x=x, metric_regex=regex, title_y="nats")
            for title, (x, regex) in curves.items()
        ],
        "Heat maps": [
            wr.MediaBrowser(title=testset, media_keys=[f"heatmap/{testset}"], num_columns=2)
            for testset in testsets
        ],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"{sweep.experiment}, {sweep.scale}",
        sections=[ws.Section(name=name, panels=of, is_open=True) for name, of in panels.items()],
        runset_settings=ws.RunsetSettings(filters=[ws.Metric("Group") == sweep.experiment]),
    )


def main(arguments: list[str] | None = None) -> int:
    """Build, write and optionally publish; print one line and return 1 on error."""
    parser = argparse.ArgumentParser(prog="python -m untrac_exp.report.dashboard")
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
        model = built._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
        text = json.dumps(model, indent=1, ensure_ascii=False)
        print(write_text(given.directory / "dashboard.json", text + "\n"))
        if given.publish:
            print(built.save().url)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
