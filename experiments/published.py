"""Shared code of the scripts in `experiments/`: read `outputs/`, publish a table or a figure.

Everything is written to `<outputs>/paper/<scale>/`: tables as CSV, Markdown and LaTeX, figures as
PDF and PNG. With ``--readme`` the part of the experiment's README between two marks is
regenerated, so no number in it is typed by hand. `experiments.tables` formats tables.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from matplotlib.figure import Figure

from untrac_exp.report.collect import collect
from untrac_exp.report.result_files import write_bytes, write_text
from untrac_exp.report.style import figure_style


def marks(name: str) -> tuple[str, str]:
    """Return the marks before and after the numbers of this name in a page."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


BEGIN, END = marks("numbers")


@dataclass(frozen=True)
class Place:
    """Input and output paths of one experiment."""

    outputs: Path
    scale: str
    home: Path
    """The experiment's own folder, with `published.csv` and `README.md`."""
    read: set[str] = field(default_factory=set, compare=False)
    """Experiments whose sweeps were read."""

    def sweep(self, experiment: str) -> Path:
        """Return the directory of a finished sweep.

        Raises:
            ValueError: the sweep has not finished; names the command that runs it.
        """
        directory = self.outputs / experiment / self.scale
        if not (directory / "summary.csv").exists():
            raise ValueError(
                f"{directory}: no summary.csv; run "
                f"python -m untrac_exp +experiment={experiment} scale={self.scale}"
            )
        self.read.add(experiment)
        return directory

    def summary(self, experiment: str) -> pd.DataFrame:
        """Read `summary.csv` of a sweep, with empty variants as ""."""
        table = pd.read_csv(self.sweep(experiment) / "summary.csv", dtype={"variant": object})
        return table.assign(variant=table["variant"].fillna(""))

    def published(self) -> pd.DataFrame:
        """Read the paper's numbers; labels stay strings."""
        return pd.read_csv(self.home / "published.csv", dtype={"value": str})

    @property
    def target(self) -> Path:
        """Path of the published files, without suffix."""
        return self.outputs / "paper" / self.scale / self.home.name


def run(
    script: str, publish: Callable[[Place], str], arguments: Sequence[str] | None = None
) -> int:
    """Publish one table or figure and print the Markdown that ``--readme`` puts into the README.

    Args:
        script: `__file__` of the experiment's script.
        publish: writes the files at `Place.target` and returns that Markdown.
        arguments: of the command line.

    Returns:
        Exit status; 1, with one line on stderr, if a result is missing.
    """
    parser = argparse.ArgumentParser(prog=_command(script))
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--scale", default="mini", help="mini or paper")
    parser.add_argument("--readme", action="store_true", help="write the numbers into README.md")
    given = parser.parse_args(arguments)
    place = Place(given.outputs, given.scale, Path(script).resolve().parent)
    try:
        text = publish(place)
        if given.readme:
            source = _source(place, script)
            fill(place.home / "README.md", f"{_picture(place)}{text}\n\n{source}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    written = sorted(place.target.parent.glob(f"{place.target.name}.*"))
    print("wrote", ", ".join(map(str, written)))
    return 0


def varied(place: Place, *experiments: str) -> str:
    """Return what the ± of these sweeps is over, such as "2 seeds × 2 train seeds"."""
    found = pd.concat([place.summary(name)["varied"] for name in experiments])
    return " or ".join(found.dropna().unique()) or "runs"


def unlearning_epochs(steps: pd.Series, config: Mapping[str, Any], inverse: bool) -> pd.Series:
    """Convert unlearning steps to epochs over the forget set.

    Args:
        steps: number of steps.
        config: of the job.
        inverse: whether test subsets are unlearned rather than corpora.
    """
    n = config["testset"]["n_per_subset"] if inverse else config["n_per_corpus"]
    return steps * min(config["method"]["batch_size"], n) / n


def fill(readme: Path, text: str, name: str = "numbers") -> None:
    """Replace the text between the marks of a page.

    Raises:
        ValueError: the page has no marks.
    """
    content = readme.read_text(encoding="utf-8")
    begin, end = marks(name)
    if begin not in content or end not in content:
        raise ValueError(f"{readme}: no '{begin}' and '{end}' to write the numbers between")
    head, tail = content.split(begin)[0], content.split(end)[1]
    write_text(readme, f"{head}{begin}\n\n{text}\n\n{end}{tail}")


def save(place: Place, figure: Figure) -> None:
    """Write a figure as PDF (fonts embedded) and PNG."""
    place.target.parent.mkdir(parents=True, exist_ok=True)
    with figure_style():
        figure.savefig(place.target.with_suffix(".pdf"), metadata={"CreationDate": None})
        figure.savefig(place.target.with_suffix(".png"), dpi=160)


def cost(place: Place, *experiments: str) -> str:
    """Return one sentence with the wall-clock time of these sweeps' jobs, without the truth."""
    metrics = [job for name in experiments for job in collect(place.sweep(name)).metrics]
    seconds = sum((job.get("cost") or {}).get("wall_s") or 0.0 for job in metrics)
    return f"Its {len(metrics)} jobs took {seconds / 60:.1f} minutes in all, the truth aside."


def truth_cost(place: Place, job: Mapping[str, Any], seeds: int | None = None) -> dict[str, float]:
    """Sum the cost of the models of a job's truth, from the store.

    Args:
        place: of the experiment.
        job: its metrics, which name the folder of θ0.
        seeds: number of train seeds to count, from the first; all by default.

    Returns:
        wall_s, forward_tokens and backward_tokens; {} if the job does not name θ0, or a model of
        the truth is no longer stored.
    """
    truth = (job.get("config") or {}).get("truth")
    if not (truth and job.get("theta0")):
        return {}
    models = place.outputs / "store" / "model"
    manifests = {path.parent: _key(path) for path in sorted(models.glob("*/manifest.json"))}
    theta0 = manifests.get(models / Path(job["theta0"]).name)
    if theta0 is None:
        return {}
    alike = {name: value for name, value in theta0.items() if name != "checkpoint_every"}
    wanted = [
        {**alike, "train_seed": seed, "without": sorted(without)}
        for seed in truth["train_seeds"][:seeds]
        for without in [(), *instantiate(truth).left_out([name for name, _ in theta0["corpora"]])]
    ]
    found = [
        folder
        for folder, key in manifests.items()
        if {name: value for name, value in key.items() if name != "checkpoint_every"} in wanted
    ]
    if len(found) < len(wanted):
        return {}
    costs = [json.loads((folder / "cost.json").read_text()) for folder in found]
    names = ("wall_s", "forward_tokens", "backward_tokens")
    return {name: sum(cost[name] for cost in costs) for name in names}


def _key(manifest: Path) -> dict[str, Any]:
    key: dict[str, Any] = json.loads(manifest.read_text())["key"]
    return key


def _picture(place: Place) -> str:
    """Copy the figure next to the README; return its Markdown, "" for a table."""
    drawn = place.target.with_suffix(".png")
    if not drawn.exists():
        return ""
    write_bytes(place.home / f"{place.scale}.png", drawn.read_bytes())
    return f"![{place.home.name} at {place.scale} scale]({place.scale}.png)\n\n"


def commits(jobs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the abbreviated commits at which the jobs were run."""
    return sorted({job["git_commit"][:7] for job in jobs if job.get("git_commit")})


def _command(script: str) -> str:
    """Return the command of an experiment's script from its path."""
    path = Path(script).resolve()
    return f"python -m experiments.{path.parent.name}.{path.stem}"


def _source(place: Place, script: str) -> str:
    """Return the command and the commits of the jobs read, which determine the presets."""
    jobs = [job for name in sorted(place.read) for job in collect(place.sweep(name)).metrics]
    found = commits(jobs)
    runs = f"Run at {' and '.join(found)}.\n\n" if found else ""
    scale = f" --scale {place.scale}" if place.scale != "mini" else ""
    return f"{runs}*Printed by `{_command(script)}{scale} --readme`.*"
