"""Drawings on a single matplotlib axes, shared by the report and `untrac_exp.report.plot`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from untrac_exp.report.style import COLOURS, INK, shortened


def ranking_panel(axes: Axes, table: pd.DataFrame, colour: str = COLOURS[0]) -> None:
    """Draw one bar per corpus with its 95 % interval, the largest influence on top.

    Args:
        table: columns corpus, influence and optionally ci_low and ci_high.
    """
    table = table.sort_values("influence", ascending=False, kind="stable")
    places = np.arange(len(table))
    values = table["influence"].to_numpy(dtype=float)
    axes.barh(places, values, height=0.62, color=colour, alpha=0.85)
    if {"ci_low", "ci_high"} <= set(table.columns):
        ends = table[["ci_low", "ci_high"]].to_numpy(dtype=float)
        known = np.isfinite(ends).all(axis=1)
        axes.hlines(places[known], *ends[known].T, color=INK, linewidth=1)
        for end in ends[known].T:
            axes.plot(end, places[known], linestyle="none", marker="|", markersize=5, color=INK)
    bar_axes(axes, shortened(list(table["corpus"]), 24))
    axes.invert_yaxis()


def bar_axes(axes: Axes, names: Sequence[str]) -> None:
    """Label the bars of a horizontal chart and draw its zero line and grid."""
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def influence_panel(axes: Axes, values: np.ndarray) -> AxesImage:
    """Draw a heat map scaled to the largest absolute influence, which is shown above it.

    A dash marks negative values for readers without colour vision.

    Args:
        axes: to draw on.
        values: influences of shape (corpora, subsets); NaN if undefined.
    """
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    scaled = values / largest if largest else values
    shown = np.ma.masked_invalid(scaled)
    image = axes.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    row, column = np.nonzero(np.nan_to_num(scaled) < 0)
    # Not INK: cell colours do not change with the page's theme.
    colours = np.where(scaled[row, column] < -0.6, "#ffffff", "#222222")
    axes.scatter(column, row, marker="_", s=16, linewidths=0.9, c=colours)
    scale = f"±{largest:.3g}" if np.isfinite(values).any() else "undefined"
    axes.annotate(
        scale, (0, 1), (0, 2), xycoords="axes fraction", textcoords="offset points", fontsize=8
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def label_cells(axes: Axes, corpora: Sequence[str], subsets: Sequence[str]) -> None:
    """Label rows and columns of a heat map; "" leaves a row or column unlabelled."""
    axes.set_yticks(range(len(corpora)), list(corpora))
    axes.set_xticks(range(len(subsets)), list(subsets), rotation=90)
