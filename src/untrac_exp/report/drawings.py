"""The figures of a report: functions from tables to matplotlib figures.

Call them within `style.figure_style()`. Figure sizes adapt to the data, so that labels
neither overlap nor are clipped with 30 corpora, 26 subsets or 9 methods.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter
from scipy import stats

from untrac_exp.report.panels import influence_panel, label_cells, ranking_panel
from untrac_exp.report.style import (
    COLOURS,
    GRID,
    INK,
    blank_figure,
    grid_shape,
    look,
    shortened,
    wrapped,
)

_CELL = 0.24  # inches
_PAGE = 12.6  # inches: largest figure width


def influence_heatmap(influence: pd.DataFrame, corpora: Sequence[str]) -> Figure:
    """Draw corpora x subsets heat maps, one panel for the truth and each method.

    Units differ between methods, so each panel is scaled to its largest absolute influence, shown
    below its name. A dash marks negative values for readers without colour vision.

    Args:
        influence: of one test set; columns label, corpus, subset, influence.
        corpora: order of the rows; panels follow the order of the labels.
    """
    labels = list(influence["label"].unique())
    subsets = list(influence["subset"].unique())
    # Square cells; wider for few subsets, narrower if two panels would not fit side by side.
    cell = max(1.9 / len(subsets), min(_CELL, max(0.2, 5.2 / len(subsets))))
    width, height = cell * len(subsets), _CELL * len(corpora)
    names = shortened(corpora, 24)
    margin = 0.075 * max(map(len, names))
    rows, columns = grid_shape(len(labels), int((_PAGE - margin) / (width + 0.25)))
    titles = [wrapped(label, width) for label in labels]
    title_lines = 2 + max(title.count("\n") for title in titles)
    below = 0.07 * max(map(len, shortened(subsets))) + 0.1
    figure = blank_figure(
        columns * (width + 0.25) + margin, rows * (height + 0.16 * title_lines) + below + 0.8
    )
    places = figure.add_gridspec(rows + 1, columns, height_ratios=[height] * rows + [0.12])
    for i, (label, title) in enumerate(zip(labels, titles, strict=True)):
        axes = figure.add_subplot(places[divmod(i, columns)])
        part = influence[influence["label"] == label]
        matrix = part.pivot(index="corpus", columns="subset", values="influence")
        values = matrix.reindex(index=list(corpora), columns=subsets).to_numpy(dtype=float)
        image = influence_panel(axes, values)
        axes.set_title(title, loc="left", fontweight="bold", pad=14)
        lowest = i + columns >= len(labels)
        label_cells(
            axes,
            names if i % columns == 0 else [""] * len(names),
            shortened(subsets) if lowest else [""] * len(subsets),
        )
    bar = figure.colorbar(image, cax=figure.add_subplot(places[rows, 0]), orientation="horizontal")
    bar.set_ticks([-1, 0, 1], labels=["−largest", "0", "+largest"])
    bar.set_label("influence (positive: the corpus helps)")
    bar.outline.set_visible(False)
    return figure


def ranking_bars(ranking: pd.DataFrame) -> Figure:
    """Draw the influence of every corpus on one test set, one panel per method.

    Args:
        ranking: columns label, corpus, influence, ci_low, ci_high.
    """
    labels = list(ranking["label"].unique())
    rows, columns = grid_shape(len(labels), 3)
    n = ranking["corpus"].nunique()
    figure = blank_figure(min(_PAGE, 3.9 * columns), rows * (0.22 * n + 0.75) + 0.2)
    grid = figure.subplots(rows, columns, squeeze=False)
    for i, (axes, label) in enumerate(zip(grid.flat, labels, strict=False)):
        ranking_panel(axes, ranking[ranking["label"] == label], look(i)["color"])
        axes.set_title(wrapped(label, 2.4), loc="left", fontweight="bold")
        axes.xaxis.set_major_locator(MaxNLocator(4))
    _hide_unused(grid, len(labels))
    figure.supxlabel("influence (positive: the corpus helps)", fontsize=9)
    return figure


def agreement_bars(agreement: pd.DataFrame, over: str = "corpora") -> Figure:
    """Draw Pearson (bar) and Spearman (diamond) of each method, one panel per test set.

    Bars are means over seeds, whiskers standard deviations; the thick line is the attainable
    ceiling.

    Args:
        agreement: columns label, testset, seed, pearson, spearman, attainable_pearson.
        over: what the correlations are computed over.
    """
    labels = list(agreement["label"].unique())
    testsets = list(agreement["testset"].unique())
    names = [wrapped(label, 2.2) for label in labels]
    lines = sum(name.count("\n") + 1 for name in names)
    rows, columns = grid_shape(len(testsets), 3)
    figure = blank_figure(
        min(_PAGE, 2.7 * columns + 1.8), rows * (0.18 * lines + 0.14 * len(labels) + 0.5) + 0.7
    )
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    correlations = agreement[["pearson", "spearman"]].to_numpy(dtype=float)
    lowest = correlations[np.isfinite(correlations)].min(initial=0.0)
    for axes, testset in zip(grid.flat, testsets, strict=False):
        for y, label in enumerate(labels):
            part = agreement[(agreement["testset"] == testset) & (agreement["label"] == label)]
            mean, std = part["pearson"].mean(skipna=False), part["pearson"].std(ddof=1)
            colour = look(y)["color"]
            axes.barh(y, 0 if pd.isna(mean) else mean, height=0.62, color=colour, alpha=0.85)
            if pd.isna(mean):
                axes.text(0.02, y, "undefined", va="center", fontsize=8, style="italic")
                continue
            if pd.notna(std):
                axes.errorbar(mean, y, xerr=std, color=INK, capsize=2.5, linewidth=1, fmt="none")
            axes.plot(
                part["spearman"].mean(), y, marker="D", markersize=4.5, color="white",
                markeredgecolor=INK, markeredgewidth=0.9, clip_on=False,
            )  # fmt: skip
            ceiling = part["attainable_pearson"].iloc[0]
            if pd.notna(ceiling):
                axes.plot([ceiling, ceiling], [y - 0.5, y + 0.5], color=INK, linewidth=2.2)
        axes.set_title(wrapped(testset, 2.5), loc="left", fontweight="bold")
        axes.set_yticks(range(len(labels)), names)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(lowest - 0.06 if lowest < 0 else 0, 1.04)
        axes.axvline(0, color=INK, linewidth=0.7)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    _hide_unused(grid, len(testsets))
    figure.supxlabel(f"correlation with the truth over {over}", fontsize=9)
    keys = [
        Line2D([], [], color="#8A8D91", linewidth=6, label="Pearson"),
        Line2D([], [], color="white", marker="D", markeredgecolor=INK, lw=0, label="Spearman"),
        Line2D([], [], color=INK, linewidth=2.2, label="attainable ceiling (Pearson)"),
    ]  # fmt: skip
    figure.legend(handles=keys, loc="outside upper center", ncols=3)
    return figure


def trajectories(trajectory: pd.DataFrame, corpora: Sequence[str]) -> Figure:
    """Draw influence against the unlearning step, one line per corpus, one panel per method.

    Lines are means over subsets and seeds, bands the 95 % t-interval of that mean.

    Args:
        trajectory: of one test set; columns label, corpus, subset, seed, step, influence.
        corpora: in legend order; those after the first ten are drawn in grey.
    """
    labels = list(trajectory["label"].unique())
    rows, columns = grid_shape(len(labels), 3)
    shown = list(corpora)[: len(COLOURS)]
    keys = shortened(shown, 24)
    legend_columns = max(1, int((3.4 * columns + 0.6) / (0.075 * max(map(len, keys)) + 0.55)))
    legend_rows = -(-(len(shown) + (len(corpora) > len(shown))) // legend_columns)
    figure = blank_figure(3.4 * columns + 0.6, 2.6 * rows + 0.6 + 0.18 * legend_rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, label in zip(grid.flat, labels, strict=False):
        part = trajectory[trajectory["label"] == label]
        for corpus in reversed(corpora):
            lines = part[part["corpus"] == corpus]
            if corpus in shown:
                mean_with_band(axes, lines, "step", "influence", look(shown.index(corpus)))
            else:
                mean = lines.groupby("step")["influence"].mean()
                axes.plot(mean.index, mean, color=GRID, linewidth=0.8, alpha=0.8)
        axes.axhline(0, color=INK, linewidth=0.7)
        axes.set_title(wrapped(label, 3), loc="left", fontweight="bold")
        axes.set_xlabel("unlearning step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid()
    _hide_unused(grid, len(labels))
    for axes in grid[:, 0]:
        axes.set_ylabel("influence (nats per token)")
    handles = [Line2D([], [], label=_legend(key), **look(i)) for i, key in enumerate(keys)]
    if len(corpora) > len(shown):
        handles.append(Line2D([], [], color=GRID, label=f"{len(corpora) - len(shown)} others"))
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns)
    return figure


def mean_with_band(
    axes: Axes, table: pd.DataFrame, x: str, y: str, style: dict[str, Any], label: str = ""
) -> None:
    """Draw the mean of column `y` at each `x` and its 95 % t-interval over the rows."""
    groups = table.groupby(x)[y]
    mean, sem, n = groups.mean(), groups.sem(), groups.count()
    axes.plot(mean.index, mean, markevery=max(1, len(mean) // 6), label=label, **style)
    half = sem * stats.t.ppf(0.975, np.maximum(n - 1, 1))
    band = {"color": style["color"], "alpha": 0.16, "linewidth": 0}
    axes.fill_between(mean.index, mean - half, mean + half, **band)


COST_AXES = {"wall_s": "wall-clock time (s)", "backward_tokens": "backward tokens"}


def accuracy_against_cost(
    points: pd.DataFrame, truth_cost: dict[str, float] | None = None
) -> Figure:
    """Draw Pearson against cost, one point per method, one column of panels per test set.

    Args:
        points: columns label, testset, pearson (mean over seeds), std, attainable, wall_s and
            backward_tokens.
        truth_cost: wall_s and backward_tokens of leave-dataset-out, drawn as a vertical line.
    """
    labels = list(points["label"].unique())
    testsets = list(points["testset"].unique())
    costs = [name for name in COST_AXES if (points[name] > 0).any()]  # as a log axis needs
    keys = shortened(labels, 30)
    rows, columns = max(1, len(costs)), len(testsets)
    width = max(4.2, 2.9 * columns + 0.7)
    legend_columns = max(1, int(width / (0.075 * max(map(len, keys)) + 0.5)))
    legend_rows = -(-(len(labels) + 2) // legend_columns)
    figure = blank_figure(width, 2.4 * rows + 0.5 + 0.18 * legend_rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex="row")
    lowest = points["pearson"].dropna().to_numpy(dtype=float).min(initial=0.0)
    for row, cost in zip(grid, costs, strict=False):
        for axes, testset in zip(row, testsets, strict=True):
            part = points[points["testset"] == testset]
            for _, point in part.iterrows():
                if not (point[cost] > 0 and math.isfinite(point["pearson"])):
                    continue
                style = {**look(labels.index(point["label"])), "linestyle": "none"}
                style |= {"markersize": 7.5, "markeredgecolor": INK, "markeredgewidth": 0.6}
                std = point["std"] if pd.notna(point["std"]) else None
                axes.errorbar(point[cost], point["pearson"], yerr=std, elinewidth=1, **style)
            for ceiling in part["attainable"].dropna().unique():
                axes.axhline(ceiling, color=INK, linewidth=1.6)
            if truth_cost and (truth_cost.get(cost) or 0) > 0:
                axes.axvline(truth_cost[cost], color=INK, linewidth=1.2, linestyle=(0, (2, 2)))
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_ylim(lowest - 0.06 * (1 - lowest), 1.06)
            axes.set_xlabel(COST_AXES[cost])
            axes.grid()
        row[0].set_ylabel("Pearson with the truth")
    for axes, testset in zip(grid[0], testsets, strict=True):
        axes.set_title(wrapped(testset, 2.6), loc="left", fontweight="bold")
    handles = [
        Line2D([], [], label=_legend(key), markersize=7, **{**look(i), "linestyle": "none"})
        for i, key in enumerate(keys)
    ]
    if points["attainable"].notna().any():
        handles.append(Line2D([], [], color=INK, linewidth=1.6, label="attainable ceiling"))
    if truth_cost:
        handles.append(Line2D([], [], color=INK, linestyle=(0, (2, 2)), label="cost of the truth"))
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns)
    return figure


def _legend(name: str) -> str:
    """Make a name safe for legends: matplotlib skips labels that start with an underscore."""
    return f" {name}" if name.startswith("_") else name


def _hide_unused(grid: np.ndarray, used: int) -> None:
    columns = grid.shape[1]
    for i, axes in enumerate(grid.flat):
        if i >= used:
            axes.set_visible(False)
        elif i + columns >= used:
            # The lowest visible panel of a shared column keeps its tick labels.
            axes.tick_params(labelbottom=True)
