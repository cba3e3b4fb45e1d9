"""Agreement with the truth against cost for every method, with the attainable ceiling.

    make cost
    python -m experiments.cost.figure [--scale mini] [--readme]

Reads `summary.csv` and `metrics.json` of the sweep `harms`, and the cost of the truth's models from
the store.
"""

import sys
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullFormatter

from experiments.drawings import look
from experiments.published import Place, run, save, truth_cost
from experiments.tables import METHODS, markdown, plus_minus
from untrac_exp.report.drawings import TITLE
from untrac_exp.report.style import INK, figure_style

ALL = {
    **METHODS,
    **{"untrac_step": "UnTrac-Inv in one step", "hif_ekfac": "HIF (EK-FAC)"},
    "ngram": "n-gram surrogate",
}
"""The paper's methods, and those beyond it."""


def points(place: Place) -> pd.DataFrame:
    """Columns label, testset, pearson, std, attainable, wall_s, backward_tokens; mean over seeds.

    Rows are in the order of the test sets and, within them, of the paper's methods.
    """
    sweep = place.sweep("harms")
    table = sweep.summary
    table = table[(table["variant"] == "") & table["method"].isin(ALL)]
    if table.empty:
        raise ValueError(f"{sweep.directory}: none of the methods; run make cost")
    table = table.rename(columns={"pearson_mean": "pearson", "pearson_std": "std"})
    table = table.assign(
        testset=pd.Categorical(table["testset"], sweep.testsets),
        method=pd.Categorical(table["method"], list(ALL)),
        label=table["method"].map(ALL),
    )
    return table.sort_values(["testset", "method"])


COST_AXES = {"wall_s": "wall-clock time (s)", "backward_tokens": "backward tokens"}


def draw(points: pd.DataFrame, truth_cost: dict[str, float]) -> Figure:
    """Draw Pearson against cost, one point per method, one column of panels per test set.

    truth_cost: wall_s and backward_tokens of leave-dataset-out, drawn as a vertical line; {} if it
    is unknown.
    """
    labels, testsets = list(points["label"].unique()), list(points["testset"].unique())
    costs = [name for name in COST_AXES if (points[name] > 0).any()]  # as a log axis needs
    rows, columns = max(1, len(costs)), len(testsets)
    figure = Figure(figsize=(max(4.2, 2.9 * columns + 0.7), 2.4 * rows + 1.2))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex="row")
    lowest = points["pearson"].dropna().to_numpy(dtype=float).min(initial=0.0)
    truth_style: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (2, 2))}
    ceiling_style: dict[str, Any] = {"color": INK, "linewidth": 1.6}
    dots = {"linestyle": "none", "markersize": 7.5, "markeredgecolor": INK}
    for row, cost in zip(grid, costs, strict=False):
        for axes, testset in zip(row, testsets, strict=True):
            part = points[points["testset"] == testset]
            finite = part[(part[cost] > 0) & np.isfinite(part["pearson"])]
            for x, y, std, label in finite[[cost, "pearson", "std", "label"]].to_numpy():
                axes.errorbar(x, y, yerr=std, elinewidth=1, **(look(labels.index(label)) | dots))
            for ceiling in part["attainable"].dropna().unique():
                axes.axhline(ceiling, **ceiling_style)
            if (truth_cost.get(cost) or 0) > 0:
                axes.axvline(truth_cost[cost], **truth_style)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_ylim(lowest - 0.06 * (1 - lowest), 1.06)
            axes.set_xlabel(COST_AXES[cost])
            axes.grid()
        row[0].set_ylabel("Pearson with the truth")
    for axes, testset in zip(grid[0], testsets, strict=True):
        axes.set_title(testset, **TITLE)
    handles = [
        *(Line2D([], [], label=name, **(look(i) | dots)) for i, name in enumerate(labels)),
        Line2D([], [], label="attainable ceiling", **ceiling_style),
        *([Line2D([], [], label="cost of the truth", **truth_style)] if truth_cost else []),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=max(2, columns + 1))
    return figure


def publish(place: Place) -> str:
    """Draw the figure; return its numbers as Markdown."""
    table = points(place)
    truth = truth_cost(place, place.sweep("harms").metrics[0])
    with figure_style():
        save(place, draw(table, truth))
    rows: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        line = rows.setdefault(row["label"], {})
        line[row["testset"]] = plus_minus(row["pearson"], row["std"], 2)
        line["ceiling of " + row["testset"]] = plus_minus(row["attainable"], digits=2)
        line["seconds"] = f"{row['wall_s']:.1f}"
        line["tokens backward"] = f"{row['backward_tokens']:,.0f}"
        if truth:
            line["share of the truth's seconds"] = f"{row['wall_s'] / truth['wall_s']:.1%}"
    shown = pd.DataFrame(rows).T
    ends = [name for name in shown if str(name).startswith(("seconds", "tokens", "share"))]
    shown = shown[[name for name in shown if name not in ends] + ends]
    text = markdown(shown.rename_axis(index="method"))
    if truth:
        text += (
            f"\n\nThe truth's models took {truth['wall_s']:.0f} s of one process and "
            f"{truth['backward_tokens']:,.0f} tokens backward."
        )
    return text


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
