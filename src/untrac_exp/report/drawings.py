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

from untrac_exp.report.panels import bar_axes, influence_panel, label_cells, ranking_panel
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
_TITLE: dict[str, Any] = {"loc": "left", "fontweight": "bold"}
_CEILING: dict[str, Any] = {"color": INK, "linewidth": 2.2}
_SPEARMAN: dict[str, Any] = {
    **{"marker": "D", "color": "white", "markeredgecolor": INK, "markeredgewidth": 0.9}
}


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
        axes.set_title(title, pad=14, **_TITLE)
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
    height = 0.22 * ranking["corpus"].nunique() + 0.75
    figure, panels = _panels(ranking["label"], (3.9, height), (0, 0.2), title_width=2.4)
    for i, (label, axes) in enumerate(panels.items()):
        ranking_panel(axes, ranking[ranking["label"] == label], look(i)["color"])
        axes.xaxis.set_major_locator(MaxNLocator(4))
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
    names = [wrapped(label, 2.2) for label in labels]
    lines = sum(name.count("\n") + 1 for name in names)
    panel = (2.7, 0.18 * lines + 0.14 * len(labels) + 0.5)
    figure, panels = _panels(
        agreement["testset"], panel, (1.8, 0.7), title_width=2.5, sharex=True, sharey=True
    )
    correlations = agreement[["pearson", "spearman"]].to_numpy(dtype=float)
    lowest = correlations[np.isfinite(correlations)].min(initial=0.0)
    for testset, axes in panels.items():
        for y, label in enumerate(labels):
            part = agreement[(agreement["testset"] == testset) & (agreement["label"] == label)]
            mean, std = part["pearson"].mean(skipna=False), part["pearson"].std(ddof=1)
            if pd.isna(mean):
                axes.text(0.02, y, "undefined", va="center", fontsize=8, style="italic")
                continue
            axes.barh(y, mean, height=0.62, color=look(y)["color"], alpha=0.85)
            axes.errorbar(mean, y, xerr=std, color=INK, capsize=2.5, linewidth=1, fmt="none")
            axes.plot(part["spearman"].mean(), y, **_SPEARMAN, clip_on=False)
            axes.plot([part["attainable_pearson"].iloc[0]] * 2, [y - 0.5, y + 0.5], **_CEILING)
        bar_axes(axes, names)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(lowest - 0.06 if lowest < 0 else 0, 1.04)
    figure.supxlabel(f"correlation with the truth over {over}", fontsize=9)
    keys = [
        Line2D([], [], color="#8A8D91", linewidth=6, label="Pearson"),
        Line2D([], [], linewidth=0, label="Spearman", **_SPEARMAN),
        Line2D([], [], label="attainable ceiling (Pearson)", **_CEILING),
    ]
    figure.legend(handles=keys, loc="outside upper center", ncols=3)
    return figure


def trajectories(trajectory: pd.DataFrame, corpora: Sequence[str]) -> Figure:
    """Draw influence against the unlearning step, one line per corpus, one panel per method.

    Lines are means over subsets and seeds, bands the 95 % t-interval of that mean.

    Args:
        trajectory: of one test set; columns label, corpus, subset, seed, step, influence.
        corpora: in legend order; those after the first ten are drawn in grey.
    """
    shown, others = corpora[: len(COLOURS)], corpora[len(COLOURS) :]
    figure, panels = _panels(
        trajectory["label"],
        (3.4, 2.6),
        (0.6, 0.6),
        title_width=3,
        ylabel="influence (nats per token)",
    )
    for label, axes in panels.items():
        part = trajectory[trajectory["label"] == label]
        for corpus in others:
            mean = part[part["corpus"] == corpus].groupby("step")["influence"].mean()
            axes.plot(mean.index, mean, color=GRID, linewidth=0.8, alpha=0.8)
        for i, corpus in reversed(list(enumerate(shown))):
            mean_with_band(axes, part[part["corpus"] == corpus], "step", "influence", look(i))
        axes.axhline(0, color=INK, linewidth=0.7)
        axes.set_xlabel("unlearning step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid()
    more = {f"{len(others)} others": {"color": GRID}} if others else {}
    _legend_below(figure, shortened(shown, 24), more)
    return figure


def mean_with_band(axes: Axes, table: pd.DataFrame, x: str, y: str, style: dict[str, Any]) -> None:
    """Draw the mean of column `y` at each `x` and its 95 % t-interval over the rows."""
    groups = table.groupby(x)[y]
    mean, sem, n = groups.mean(), groups.sem(), groups.count()
    axes.plot(mean.index, mean, markevery=max(1, len(mean) // 6), **style)
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
    rows, columns = max(1, len(costs)), len(testsets)
    figure = blank_figure(max(4.2, 2.9 * columns + 0.7), 2.4 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex="row")
    lowest = points["pearson"].dropna().to_numpy(dtype=float).min(initial=0.0)
    truth_style = {"color": INK, "linewidth": 1.2, "linestyle": (0, (2, 2))}
    ceiling_style = {"color": INK, "linewidth": 1.6}
    dots = {"linestyle": "none", "markersize": 7.5, "markeredgecolor": INK, "markeredgewidth": 0.6}
    for row, cost in zip(grid, costs, strict=False):
        for axes, testset in zip(row, testsets, strict=True):
            part = points[points["testset"] == testset]
            finite = part[(part[cost] > 0) & np.isfinite(part["pearson"])]
            for x, y, std, label in finite[[cost, "pearson", "std", "label"]].to_numpy():
                style = look(labels.index(label)) | dots
                axes.errorbar(x, y, yerr=std, elinewidth=1, **style)
            for ceiling in part["attainable"].dropna().unique():
                axes.axhline(ceiling, **ceiling_style)
            if truth_cost and (truth_cost.get(cost) or 0) > 0:
                axes.axvline(truth_cost[cost], **truth_style)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_ylim(lowest - 0.06 * (1 - lowest), 1.06)
            axes.set_xlabel(COST_AXES[cost])
            axes.grid()
        row[0].set_ylabel("Pearson with the truth")
    for axes, testset in zip(grid[0], testsets, strict=True):
        axes.set_title(wrapped(testset, 2.6), **_TITLE)
    more = {"attainable ceiling": ceiling_style} if points["attainable"].notna().any() else {}
    more |= {"cost of the truth": truth_style} if truth_cost else {}
    _legend_below(figure, shortened(labels, 30), more, linestyle="none", markersize=7)
    return figure


def _panels(
    names: pd.Series,
    size: tuple[float, float],
    around: tuple[float, float],
    title_width: float,
    ylabel: str = "",
    **shared: Any,
) -> tuple[Figure, dict[str, Axes]]:
    """Create a figure with a titled panel for each distinct name, three in a row.

    size: width and height of a panel, around: what the figure adds to them, in inches.
    """
    distinct = list(names.unique())
    rows, columns = grid_shape(len(distinct), 3)
    width, height = columns * size[0] + around[0], rows * size[1] + around[1]
    figure = blank_figure(min(_PAGE, width), height)
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axes in grid[::columns]:
        axes.set_ylabel(ylabel)
    for axes in grid[len(distinct) :]:
        axes.set_visible(False)
    for axes in grid[: len(distinct)][-columns:]:  # the lowest of shared columns
        axes.tick_params(labelbottom=True)
    panels = dict(zip(distinct, grid, strict=False))
    for name, axes in panels.items():
        axes.set_title(wrapped(name, title_width), **_TITLE)
    return figure, panels


def _legend_below(
    figure: Figure, names: Sequence[str], more: dict[str, dict[str, Any]], **style: Any
) -> None:
    """Name the series, and `more` lines by their style, below a figure that grows for it."""
    columns = max(1, int(figure.get_figwidth() / (0.075 * max(map(len, names)) + 0.55)))
    styles = [*(look(i) | style for i in range(len(names))), *more.values()]
    figure.set_figheight(figure.get_figheight() + 0.18 * math.ceil(len(styles) / columns))
    handles = [
        # matplotlib skips labels that start with an underscore
        Line2D([], [], label=f" {name}" if name.startswith("_") else name, **style)
        for name, style in zip([*names, *more], styles, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
