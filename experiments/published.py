"""Shared code of the scripts in `experiments/`: read `outputs/`, publish a table or a figure.

Everything is written to `<outputs>/paper/<scale>/`: tables as CSV, Markdown and LaTeX, figures as
PDF and PNG. With ``--readme`` the part of the experiment's README between two marks is
regenerated, so no number in it is typed by hand. `experiments.tables` formats tables.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from matplotlib.figure import Figure

from untrac_exp.report.collect import collect
from untrac_exp.report.result_files import write_bytes, write_text
from untrac_exp.report.results import Sweep
from untrac_exp.report.style import figure_style
from untrac_exp.statistics.agreement import agreement, truth_mean


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
    read: dict[str, Sweep] = field(default_factory=dict, compare=False)
    """Sweeps that were read, by experiment."""

    def sweep(self, experiment: str) -> Sweep:
        """Read a finished sweep, once.

        Raises:
            ValueError: the sweep has not finished; names the command that runs it.
        """
        directory = self.outputs / experiment / self.scale
        if experiment not in self.read:
            if not (directory / "summary.csv").exists():
                raise ValueError(
                    f"{directory}: no summary.csv; run "
                    f"python -m untrac_exp +experiment={experiment} scale={self.scale}"
                )
            self.read[experiment] = collect(directory)
        return self.read[experiment]

    def cell(self, experiment: str, method: str, variant: str = "") -> pd.DataFrame:
        """Return the rows of a sweep's summary of one method and variant, one per test set.

        Raises:
            ValueError: it was not run; names the command that runs it.
        """
        table = self.sweep(experiment).summary
        table = table[(table["method"] == method) & (table["variant"] == variant)]
        if table.empty:
            raise ValueError(
                f"{self.sweep(experiment).directory}: no {method} {variant}; run python -m "
                f"untrac_exp +experiment={experiment} scale={self.scale} method={method} {variant}"
            )
        return table.set_index("testset", drop=False)

    def published(self) -> pd.DataFrame:
        """Read the paper's numbers; labels stay strings."""
        return pd.read_csv(self.home / "published.csv", dtype={"value": str})

    @property
    def target(self) -> Path:
        """Path of the published files, without suffix."""
        return self.outputs / "paper" / self.scale / self.home.name


def run(
    script: str,
    publish: Callable[[Place], str],
    arguments: Sequence[str] | None = None,
    page: Path | None = None,
    name: str = "numbers",
) -> int:
    """Publish one table or figure and print the Markdown that ``--readme`` puts into a page.

    Args:
        script: `__file__` of the experiment's script.
        publish: writes the files at `Place.target` and returns that Markdown.
        arguments: of the command line.
        page: with the marks between which the Markdown goes; the experiment's README.md by default.
        name: of the marks.

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
        if given.readme and page is None:
            text_of_page = f"{_picture(place)}{text}\n\n{_source(place, script)}"
            fill(place.home / "README.md", text_of_page, name)
        elif given.readme and page is not None:
            fill(page, text, name)
            if (drawn := place.target.with_suffix(".png")).exists():
                write_bytes(page.with_name(drawn.name), drawn.read_bytes())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    written = sorted(place.target.parent.glob(f"{place.target.name}.*"))
    if written:
        print("wrote", ", ".join(map(str, written)))
    return 0


def varied(place: Place, *experiments: str) -> str:
    """Return what the ± of these sweeps is over, such as "2 seeds × 2 train seeds"."""
    names = [name for of in experiments for name in place.sweep(of).summary["varied"].unique()]
    return " or ".join(filter(None, dict.fromkeys(names))) or "runs"


def jobs(sweep: Sweep, methods: Sequence[str], table: str) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Yield the metrics of each job of some methods, and its rows of a table of `Sweep.tables`."""
    rows = sweep.tables[table]
    for i, job in enumerate(sweep.metrics):
        if job["method"] in methods and (rows["job"] == i).any():
            yield job, rows[rows["job"] == i]


def agreement_along(
    sweep: Sweep, job: Mapping[str, Any], trajectory: pd.DataFrame, by: str = "testset"
) -> Iterator[dict[str, Any]]:
    """Yield a job's agreement with the truth at each step of its trajectory, by test set or subset.

    Each is {method, variant, seed, <by>, step, pearson, spearman, ...}.
    """
    truth = truth_mean(sweep.truth[sweep.truth["variant"] == job["variant"]])
    head = {name: job[name] for name in ("method", "variant", "seed")}
    for step, scores in trajectory.groupby("step"):
        values = agreement(scores.assign(testset=scores[by]), truth.assign(testset=truth[by]))
        for name, statistics in values.items():
            yield {**head, by: name, "step": step, **statistics}


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
    metrics = [job for name in experiments for job in place.sweep(name).metrics]
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
    found = commits(job for sweep in place.read.values() for job in sweep.metrics)
    runs = f"Run at {' and '.join(found)}.\n\n" if found else ""
    scale = f" --scale {place.scale}" if place.scale != "mini" else ""
    return f"{runs}*Printed by `{_command(script)}{scale} --readme`.*"
