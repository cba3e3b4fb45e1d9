"""What the scripts of `experiments/` share: they read `outputs/` and publish a table or a figure.

Everything is written to `<outputs>/paper/<scale>/`: tables as CSV, Markdown and LaTeX, figures as
PDF and PNG. With ``--readme`` the part of the experiment's README between two marks is written
anew, so that no number in it is typed by hand.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from matplotlib.figure import Figure

from untrac_exp.report.collect import collect
from untrac_exp.report.style import figure_style
from untrac_exp.result_files import write_bytes, write_text

METHODS = {
    "graddot": "GradDot",
    "gradcos": "GradCos",
    "hif_arnoldi": "HIF (Arnoldi)",
    "hif_lissa": "HIF (LiSSA)",
    "tracin": "TracIn",
    "untrac": "UnTrac",
    "untrac_inv": "UnTrac-Inv",
}
"""The paper's methods in its order, and how it prints them."""
TESTSETS = {"toxicity": "toxigen", "bias": "winobias", "truthfulness": "truthfulqa"}
"""Our test sets -> the paper's."""
NAMES = {
    **METHODS,
    **{"leave_dataset_out": "Leave-dataset-out", "sgd_momentum": "SGD with momentum"},
    **{"toxigen": "ToxiGen", "winobias": "WinoBias", "truthfulqa": "TruthfulQA"},
    **{"sgd": "SGD", "rmsprop": "RMSProp", "adam": "Adam", "adafactor": "Adafactor"},
}
"""How the paper prints what our files name."""


def marks(name: str) -> tuple[str, str]:
    """What stands before and after the numbers of this name in a page."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


BEGIN, END = marks("numbers")


@dataclass(frozen=True)
class Place:
    """Where one experiment reads and writes."""

    outputs: Path
    scale: str
    home: Path
    """The experiment's own folder, with `published.csv` and `README.md`."""
    read: set[str] = field(default_factory=set, compare=False)
    """The experiments whose sweeps were asked for."""

    def sweep(self, experiment: str) -> Path:
        """The directory of a finished sweep. ValueError names the command that fills it."""
        directory = self.outputs / experiment / self.scale
        if not (directory / "summary.csv").exists():
            raise ValueError(
                f"{directory}: no summary.csv; run "
                f"python -m untrac_exp +experiment={experiment} scale={self.scale}"
            )
        self.read.add(experiment)
        return directory

    def summary(self, experiment: str) -> pd.DataFrame:
        """`summary.csv` of a sweep, with empty variants as ""."""
        table = pd.read_csv(self.sweep(experiment) / "summary.csv", dtype={"variant": object})
        return table.assign(variant=table["variant"].fillna(""))

    def published(self) -> pd.DataFrame:
        """The paper's figures; labels stay text."""
        return pd.read_csv(self.home / "published.csv", dtype={"value": str})

    @property
    def target(self) -> Path:
        """Path of what is published, without its suffix."""
        return self.outputs / "paper" / self.scale / self.home.name


def run(
    script: str, publish: Callable[[Place], str], arguments: Sequence[str] | None = None
) -> int:
    """Publish one table or figure and print the Markdown that ``--readme`` puts into the README.

    script: `__file__` of the experiment's script. publish: writes the files below `Place.target`
    and returns that Markdown. Exit status 1 with one line where something is missing.
    """
    parser = argparse.ArgumentParser(prog=f"python {script}")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--scale", default="mini", help="mini or paper")
    parser.add_argument("--readme", action="store_true", help="write the numbers into README.md")
    given = parser.parse_args(arguments)
    place = Place(given.outputs, given.scale, Path(script).resolve().parent)
    try:
        text = publish(place)
        if given.readme:
            source = _source(place, Path(script).name)
            fill(place.home / "README.md", f"{_picture(place)}{text}\n\n{source}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    written = sorted(place.target.parent.glob(f"{place.target.name}.*"))
    print("wrote", ", ".join(map(str, written)))
    return 0


def correlations(
    place: Place, experiments: Mapping[str, str], key: str, statistic: str
) -> pd.DataFrame:
    """Agreement of the paper's methods with the truth, a row for each experiment, method, test set.

    experiments: value of the column `key` -> experiment. statistic: pearson or spearman.
    Columns key, method, testset, <statistic>_mean, <statistic>_std, ceiling, attainable;
    rows as in the paper.
    """
    rows = []
    for value, experiment in experiments.items():
        table = place.summary(experiment)
        table = table[(table["variant"] == "") & table["testset"].isin(TESTSETS)]
        cells = {(row["method"], row["testset"]): row for row in table.to_dict("records")}
        for method in METHODS:
            for ours, theirs in TESTSETS.items():
                if (method, ours) not in cells:
                    raise ValueError(
                        f"{place.sweep(experiment)}: no {method} on {ours}; run python -m "
                        f"untrac_exp +experiment={experiment} scale={place.scale} method={method}"
                    )
                row = {key: value, "method": method, "testset": theirs}
                for name in (f"{statistic}_mean", f"{statistic}_std", "ceiling", "attainable"):
                    row[name] = cells[method, ours][name]
                rows.append(row)
    frame = pd.DataFrame(rows)
    order = {method: i for i, method in enumerate(METHODS)}
    return frame.sort_values("method", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def correlation_table(place: Place, statistic: str) -> str:
    """Publish tables 3 and 5: methods by test sets, corpora of equal and of unequal sizes."""
    sizes = {"equal": "harms", "unequal": "harms_unequal"}
    ours, published = correlations(place, sizes, "sizes", statistic), place.published()
    mean, std = f"{statistic}_mean", f"{statistic}_std"
    shown = []
    for table in (published, ours):
        cells = [plus_minus(m, s) for m, s in zip(table[mean], table[std], strict=True)]
        laid_out = (
            table.assign(cell=cells, method=table["method"].map(METHODS))
            .pivot(index="method", columns=["sizes", "testset"], values="cell")
            .reindex(index=list(METHODS.values()))
        )
        columns = pd.MultiIndex.from_product([sizes, TESTSETS.values()])
        shown.append(laid_out.reindex(columns=columns).rename_axis(index="method"))
    truths = ours.drop_duplicates(["sizes", "testset"]).set_index(["sizes", "testset"])
    if statistic == "pearson":
        for name, column in (("attainable ceiling", "attainable"), ("noise ceiling", "ceiling")):
            shown[1].loc[name] = [plus_minus(truths[column][at]) for at in shown[1].columns]
    caption = (
        f"{statistic.title()} correlation with leave-dataset-out, mean ± standard deviation over "
        f"{varied(place, *sizes.values())}, {place.scale} scale."
    )
    shown = [table.rename(columns=NAMES) for table in shown]
    write_table(place, ours.drop(columns=["ceiling", "attainable"]), shown[1], caption)
    between = differences(published, ours, ["sizes", "testset"], "method", mean)
    theirs, laid_out = shown
    return f"{side_by_side(place, theirs, laid_out, between)}\n\n{cost(place, *sizes.values())}"


def varied(place: Place, *experiments: str) -> str:
    """What a ± of these sweeps is over, as in "2 seeds × 2 train seeds"."""
    found = pd.concat([place.summary(name)["varied"] for name in experiments])
    return " or ".join(found.dropna().unique()) or "runs"


def side_by_side(place: Place, theirs: pd.DataFrame, ours: pd.DataFrame, between: str) -> str:
    """The published table, ours and where they differ, as Markdown."""
    return (
        f"Published:\n\n{markdown(theirs)}\n\nOurs, {place.scale} scale:\n\n{markdown(ours)}\n\n"
        f"Order and sign:\n\n{between}"
    )


def unlearning_epochs(steps: pd.Series, config: Mapping[str, Any], inverse: bool) -> pd.Series:
    """Epochs over what is unlearned after so many steps, from a job's configuration.

    inverse: whether test subsets are unlearned rather than corpora.
    """
    n = config["testset"]["n_per_subset"] if inverse else config["n_per_corpus"]
    return steps * min(config["method"]["batch_size"], n) / n


def plus_minus(mean: float, std: float = float("nan"), digits: int = 3) -> str:
    """`0.419 ± 0.063`; a dash where the mean is undefined, no spread where that is."""
    if math.isnan(mean):
        return "–"
    spread = "" if math.isnan(std) else f" ± {std:.{digits}f}"
    return f"{mean:.{digits}f}{spread}".replace("-", "−")


def write_table(place: Place, table: pd.DataFrame, laid_out: pd.DataFrame, caption: str) -> None:
    """Write the numbers as CSV, and as laid out in the paper as Markdown and LaTeX."""
    write_text(place.target.with_suffix(".csv"), table.to_csv(index=False, lineterminator="\n"))
    write_text(place.target.with_suffix(".md"), f"{caption}\n\n{markdown(laid_out)}\n")
    write_text(place.target.with_suffix(".tex"), latex(laid_out, caption))


def markdown(table: pd.DataFrame) -> str:
    """A pipe table of the index and the columns; levels of columns are joined by a space."""
    flat = isinstance(table.columns, pd.MultiIndex)
    heads = [" ".join(column) if flat else str(column) for column in table.columns]
    lines = [[str(table.index.name or ""), *heads], ["---"] * (len(heads) + 1)]
    lines += [[str(index), *map(str, row)] for index, row in zip(
        table.index, table.to_numpy(dtype=object), strict=True)]  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def latex(table: pd.DataFrame, caption: str) -> str:
    """A booktabs table, minus signs and all set in math."""
    text = table.rename_axis(index=None).to_latex(
        escape=True, caption=caption, multicolumn_format="c", position="t"
    )
    return text.replace("−", "$-$").replace("±", "$\\pm$").replace("–", "--")


def differences(
    published: pd.DataFrame, ours: pd.DataFrame, within: Sequence[str], item: str, value: str
) -> str:
    """Where ours and the published figures differ in sign or in order, as a Markdown list.

    Both have the columns `within` (what is compared on its own), `item` (what is ordered) and
    `value`. ValueError where they have other rows.
    """
    keys = [*within, item]
    both = published.merge(ours, on=keys, suffixes=("_theirs", "_ours"))
    if not len(both) == len(published) == len(ours):
        raise ValueError(f"our rows and the published ones differ in {', '.join(keys)}")
    theirs_name, ours_name = f"{value}_theirs", f"{value}_ours"
    lines = []
    for where, group in both.groupby(list(within), sort=False):
        name = ", ".join(NAMES.get(str(part), str(part)) for part in where)
        group = group.assign(**{item: [NAMES.get(str(i), str(i)) for i in group[item]]})
        signs = group[group[theirs_name] * group[ours_name] < 0]
        inverted, pairs = 0, 0
        rows = list(zip(group[theirs_name], group[ours_name], strict=True))
        for (a, b), (c, d) in combinations(rows, 2):
            pairs += 1
            inverted += (a - c) * (b - d) < 0
        by_item = group.set_index(item)
        first = [str(by_item[name].idxmax()) for name in (theirs_name, ours_name)]
        says = [f"{inverted} of {pairs} pairs in the other order"]
        says.append(
            f"first in both is {first[0]}" if first[0] == first[1]
            else f"first is {first[0]} in the paper, {first[1]} here"
        )  # fmt: skip
        if len(signs):
            says.append("other sign for " + ", ".join(map(str, signs[item])))
        lines.append(f"- {name}: {'; '.join(says)}.")
    return "\n".join(lines)


def fill(readme: Path, text: str, name: str = "numbers") -> None:
    """Write what stands between the marks of a page anew. ValueError where it has no marks."""
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
    """What the jobs of these sweeps took, the truth aside, in one sentence."""
    metrics = [job for name in experiments for job in collect(place.sweep(name)).metrics]
    seconds = sum((job.get("cost") or {}).get("wall_s") or 0.0 for job in metrics)
    return f"Its {len(metrics)} jobs took {seconds / 60:.1f} minutes in all, the truth aside."


def truth_cost(place: Place, job: Mapping[str, Any], seeds: int | None = None) -> dict[str, float]:
    """What the models that a job's truth is made of cost: a sum over them, from the store.

    job: its metrics, which name the folder of θ0. seeds: train seeds to count, the first ones; all
    unless given. Returns wall_s, forward_tokens and backward_tokens; {} where the job does not name
    θ0, or a model of the truth is no longer stored.
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
    """A copy of the figure beside the README, and the Markdown that shows it; "" for a table."""
    drawn = place.target.with_suffix(".png")
    if not drawn.exists():
        return ""
    write_bytes(place.home / f"{place.scale}.png", drawn.read_bytes())
    return f"![{place.home.name} at {place.scale} scale]({place.scale}.png)\n\n"


def commits(jobs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The commits that jobs were run at, from their metrics, in short."""
    return sorted({job["git_commit"][:7] for job in jobs if job.get("git_commit")})


def _source(place: Place, script: str) -> str:
    """The commits of the jobs that were read, which fix the presets, and the command."""
    jobs = [job for name in sorted(place.read) for job in collect(place.sweep(name)).metrics]
    found = commits(jobs)
    runs = f"Run at {' and '.join(found)}.\n\n" if found else ""
    scale = f" --scale {place.scale}" if place.scale != "mini" else ""
    return f"{runs}*Printed by `python experiments/{place.home.name}/{script}{scale} --readme`.*"
