"""Method tables for README.md and docs/: agreement with the truth, and cost.

    python -m experiments.readme.tables [NAME ...] [--scale mini] [--readme]

Reads the sweep of each of `NAMES`, or of those given. With ``--readme`` the part of the page
between the marks ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` is replaced. Methods are
sorted by Pearson, averaged over the test sets. The table of `harms` has the peak memory that
`python -m experiments.memory.measure --readme` measured.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.published import Place, commits, marks, run
from experiments.tables import markdown, plus_minus
from untrac_exp.report.results import Sweep

ROOT = Path(__file__).parents[2]
PEAKS = Path("experiments", "memory", "peaks.csv")
NAMES = ("harms", "toxicity", "docstrings", "natural")


def publish(place: Place, name: str, root: Path = ROOT) -> str:
    """Return the table of one sweep as Markdown, with the settings it was run with."""
    sweep = place.sweep(name)
    summary = sweep.summary
    cells = {(row["method"], row["testset"]): row for row in summary.to_dict("records")}
    order = summary.groupby("method")["pearson_mean"].mean().sort_values(ascending=False).index
    costs = sweep.agreement.groupby("method")[["wall_s", "backward_tokens"]].mean()
    peaks = _peaks(root) if name == "harms" else {}
    own = _own_first(sweep)
    rows = []
    for method in map(str, order):
        row = {"method": f"`{method}`"}
        for testset in sweep.testsets:
            one = cells[method, testset]
            row[testset] = " / ".join(
                plus_minus(one[f"{statistic}_mean"], one[f"{statistic}_std"], digits=2)
                for statistic in ("pearson", "spearman")
            )
        row |= {"own corpus first": own[method]} if own else {}
        tokens = costs["backward_tokens"][method] / 1000
        row |= {"seconds": f"{costs['wall_s'][method]:.0f}", "k tokens backward": f"{tokens:,.0f}"}
        rows.append(row | ({"memory": peaks.get(method, "")} if peaks else {}))
    for head, key in (("attainable ceiling", "attainable"), ("noise ceiling", "ceiling")):
        of = {
            name: plus_minus(cells[str(order[0]), name][key], digits=2) for name in sweep.testsets
        }
        rows.append({"method": head, **of})
    over = " or ".join(filter(None, summary["varied"].unique()))
    spread = f", mean ± standard deviation over {over}" if over else ""
    return (
        f"{markdown(pd.DataFrame(rows).fillna('').set_index('method'))}\n\n"
        f"Pearson / Spearman with the truth{spread}; cost of a job. "
        f"Run at {' and '.join(commits(sweep.metrics))}; "
        f"printed by `python -m experiments.readme.tables {name} --readme`."
    )


def _own_first(sweep: Sweep) -> dict[str, str]:
    """Method -> how many subsets have the corpus of their own name first, run by run.

    {} where the subsets are not named after corpora.
    """
    if not set(sweep.scores["subset"]) <= set(sweep.scores["corpus"]):
        return {}
    top = sweep.scores.loc[
        sweep.scores.groupby(["method", "train_seed", "seed", "subset"])["influence"].idxmax()
    ]
    right = (top["subset"] == top["corpus"]).groupby(
        [top["method"], top["train_seed"], top["seed"]]
    )
    counts = right.sum().groupby("method")
    of = sweep.scores["subset"].nunique()
    return {
        str(method): f"{', '.join(map(str, values))} of {of}"
        for method, values in counts.agg(list).items()
    }


def _peaks(root: Path) -> dict[str, str]:
    """Method -> its peak memory over that of pretraining; {} where it was not measured."""
    path = root / PEAKS
    if not path.exists():
        return {}
    peaks = pd.read_csv(path, index_col="stage")["mib"]
    return {str(stage): f"{mib / peaks['pretraining']:.2f}" for stage, mib in peaks.items()}


def page_of(name: str, root: Path = ROOT) -> Path:
    """Return README.md or the page of docs/ that has the marks of a table; README.md if none."""
    pages = (root / "README.md", *sorted((root / "docs").glob("*.md")))
    has_marks = (path for path in pages if marks(name)[0] in path.read_text(encoding="utf-8"))
    return next(has_marks, pages[0])


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Print the tables of the names given; exit status 1 with one line on error."""
    given = [argument for argument in arguments if argument in NAMES]
    options = [argument for argument in arguments if argument not in NAMES]
    for name in given or NAMES:
        page = page_of(name, root)
        if status := run(__file__, partial(publish, name=name, root=root), options, page, name):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
