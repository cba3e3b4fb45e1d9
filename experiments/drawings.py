"""Lines that several figures of the experiments draw."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from untrac_exp.report.style import COLOURS

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", "h", ">", "p", "d")
DASHES = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))


def look(index: int) -> dict[str, Any]:
    """Return colour, marker and dash of the index-th series; distinct in greyscale too."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[(index + index // len(COLOURS)) % len(DASHES)],
    }


def mean_with_band(axes: Axes, table: pd.DataFrame, x: str, y: str, style: dict[str, Any]) -> None:
    """Draw the mean of column `y` at each `x` and its 95 % t-interval over the rows."""
    groups = table.groupby(x)[y]
    mean, sem, n = groups.mean(), groups.sem(), groups.count()
    axes.plot(mean.index, mean, markevery=max(1, len(mean) // 6), **style)
    half = sem * stats.t.ppf(0.975, np.maximum(n - 1, 1))
    band = {"color": style["color"], "alpha": 0.16, "linewidth": 0}
    axes.fill_between(mean.index, mean - half, mean + half, **band)
