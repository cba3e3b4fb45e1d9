"""The figures of a report: functions from tables to matplotlib figures and axes.

Call them within `style.figure_style()`. Figure sizes adapt to the data, so that labels
neither overlap nor are clipped with 30 corpora, 26 subsets or 9 methods.
"""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from untrac_exp.report.style import COLOURS, GRID, INK, shortened

TITLE: dict[str, Any] = {"loc": "left", "fontweight": "bold"}
INFLUENCE = "influence (positive: the corpus helps)"
_TITLE_WIDTH = 26
"""Characters of a line of a panel's title."""
_CEILING: dict[str, Any] = {"color": INK, "linestyle": "-", "linewidth": 2.2}
_SPEARMAN: dict[str, Any] = {
    **{"marker": "D", "color": "white", "markeredgecolor": INK, "markeredgewidth": 0.9}
}


def influence_heatmap(influence: pd.DataFrame, corpora: Sequence[str]) -> Figure:
    """Draw corpora x subsets heat maps, one panel for the truth and each method.

    Args:
        influence: of one test set; columns label, corpus, subset, influence.
        corpora: order of the rows; panels follow the order of the labels.
    """
    subsets = list(influence["subset"].unique())
    size = max(2.3, 0.2 * len(subsets)), 0.24 * len(corpora) + 0.6
    around = 2.8, 0.07 * max(map(len, shortened(subsets))) + 0.7
    figure, panels = _panels(influence["label"], size, around, sharex=True, sharey=True)
    for label, axes in panels.items():
        rows = influence[influence["label"] == label]
        matrix = rows.pivot(index="corpus", columns="subset", values="influence")
        image = influence_panel(axes, matrix.reindex(index=list(corpora), columns=subsets))
        axes.set_title(axes.get_title(loc="left"), pad=14, **TITLE)
    every = list(panels.values())
    bar = figure.colorbar(image, ax=every, ticks=[-1, 0, 1], shrink=3 / max(3, len(every)))
    figure.supxlabel(INFLUENCE, fontsize=9)
    bar.set_ticklabels(["−largest", "0", "+largest"])
    bar.outline.set_visible(False)
    return figure


def influence_panel(axes: Axes, matrix: pd.DataFrame) -> AxesImage:
    """Draw a heat map scaled to the largest absolute influence, which is shown above it.

    A dash marks negative values for readers without colour vision.

    Args:
        axes: to draw on.
        matrix: influences, a row for each corpus and a column for each subset; NaN if undefined.
    """
    values = matrix.to_numpy(dtype=float)
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    scaled = values / (largest or 1.0)
    image = axes.imshow(np.ma.masked_invalid(scaled), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    row, column = np.nonzero(scaled < 0)
    colours = np.where(scaled[row, column] < -0.6, "white", INK)
    axes.scatter(column, row, marker="_", s=16, linewidths=0.9, c=colours)
    scale = f"±{largest:.3g}" if np.isfinite(values).any() else "undefined"
    above: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "fontsize": 8,
    }
    axes.annotate(scale, (0, 1), (0, 2), **above)
    axes.set_yticks(range(len(matrix)), shortened(list(matrix.index), 24))
    axes.set_xticks(range(len(matrix.columns)), shortened(list(map(str, matrix))), rotation=90)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def agreement_bars(agreement: pd.DataFrame, over: str = "corpora") -> Figure:
    """Draw Pearson (bar) and Spearman (diamond) of each method, one panel per test set.

    Bars are means over seeds, whiskers standard deviations; the thick line is the attainable
    ceiling.

    Args:
        agreement: columns label, testset, seed, pearson, spearman, attainable_pearson.
        over: what the correlations are computed over.
    """
    labels = list(agreement["label"].unique())
    names = [fill(label, _TITLE_WIDTH) for label in labels]
    lines = sum(name.count("\n") + 1 for name in names)
    size = 2.7, 0.18 * lines + 0.14 * len(labels) + 0.5
    figure, panels = _panels(agreement["testset"], size, (1.8, 0.7), sharex=True, sharey=True)
    correlations = agreement[["pearson", "spearman"]].to_numpy(dtype=float)
    lowest = correlations[np.isfinite(correlations)].min(initial=0.0)
    for testset, axes in panels.items():
        for y, label in enumerate(labels):
            runs = agreement[(agreement["testset"] == testset) & (agreement["label"] == label)]
            mean, std = runs["pearson"].mean(skipna=False), runs["pearson"].std(ddof=1)
            if pd.isna(mean):
                axes.text(0.02, y, "undefined", va="center", fontsize=8, style="italic")
                continue
            axes.barh(y, mean, xerr=std, height=0.62, color=COLOURS[y % 10], alpha=0.85)
            axes.plot(runs["spearman"].mean(), y, **_SPEARMAN, clip_on=False)
            axes.plot([runs["attainable_pearson"].iloc[0]] * 2, [y - 0.5, y + 0.5], **_CEILING)
        bar_axes(axes, names)
        axes.set_xlim(lowest - 0.06 if lowest < 0 else 0, 1.04)
    figure.supxlabel(f"correlation with the truth over {over}", fontsize=9)
    keys = [
        Line2D([], [], color=GRID, linewidth=6, label="Pearson"),
        Line2D([], [], linewidth=0, label="Spearman", **_SPEARMAN),
        Line2D([], [], label="attainable ceiling (Pearson)", **_CEILING),
    ]
    figure.legend(handles=keys, loc="outside upper center", ncols=3)
    return figure


def _panels(
    names: pd.Series, size: tuple[float, float], around: tuple[float, float], **shared: Any
) -> tuple[Figure, dict[str, Axes]]:
    """Create a figure with a titled panel for each distinct name, at most three in a row.

    size: width and height of a panel, around: what the figure adds to them, in inches.
    """
    distinct = list(names.unique())
    columns = min(3, len(distinct))
    rows = -(-len(distinct) // columns)
    figure = Figure(figsize=(columns * size[0] + around[0], rows * size[1] + around[1]))
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axes in grid[len(distinct) :]:
        axes.set_visible(False)
    for axes in grid[: len(distinct)][-columns:]:  # the lowest of shared columns
        axes.tick_params(labelbottom=True)
    panels = dict(zip(distinct, grid, strict=False))
    for name, axes in panels.items():
        axes.set_title(fill(name, _TITLE_WIDTH), **TITLE)
    return figure, panels


def bar_axes(axes: Axes, names: Sequence[str]) -> None:
    """Label the bars of a horizontal chart, the first on top, and draw its zero line and grid."""
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
