"""Figures of the scores that `untrac_exp.trace` returns, as a report draws them.

    from untrac_exp import plot, trace

    axes = plot.ranking(trace(...))
    axes.figure.savefig("ranking.png")

`pandas.read_csv` of a job's scores.csv gives scores, too.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from untrac_exp.report.panels import influence_panel, label_cells, ranking_panel
from untrac_exp.report.style import figure_style, shortened


def ranking(scores: pd.DataFrame, testset: str | None = None, axes: Axes | None = None) -> Axes:
    """Draw the corpora by their influence on a test set, the mean over its subsets.

    Args:
        scores: columns corpus, testset, subset, influence, ci_low and ci_high; in nats per token.
            Where ``scores.attrs["ranking"]`` is there, its intervals are drawn, which are of the
            mean; else the means of the subsets' ends, which are at least as wide.
        testset: which one; None where there is one only.
        axes: to draw on; None makes a figure of its own.

    Returns:
        The axes.

    Raises:
        ValueError: `testset` is not in the scores, or not given and not the only one.
    """
    part = _of(scores, testset)
    means = part.groupby("corpus", sort=False)[["influence", "ci_low", "ci_high"]].mean()
    kept = scores.attrs.get("ranking")
    if kept is not None:
        kept = kept[kept["testset"] == part["testset"].iloc[0]]
    table = means.reset_index() if kept is None or kept.empty else kept
    with figure_style():
        axes = axes or _axes(5.2, 0.26 * len(table) + 1.0)
        ranking_panel(axes, table)
        axes.set_title(str(part["testset"].iloc[0]), loc="left", fontweight="bold")
        axes.set_xlabel("influence (positive: the corpus helps)")
    return axes


def heatmap(scores: pd.DataFrame, testset: str | None = None, axes: Axes | None = None) -> Axes:
    """Draw the influence of every corpus on every subset of a test set.

    Args:
        scores: columns corpus, testset, subset and influence.
        testset: which one; None where there is one only.
        axes: to draw on; None makes a figure of its own.

    Returns:
        The axes; rows are corpora, the most influential on top, columns subsets. Colours are scaled
        to the largest influence, which is written above.

    Raises:
        ValueError: `testset` is not in the scores, or not given and not the only one.
    """
    part = _of(scores, testset)
    matrix = part.pivot(index="corpus", columns="subset", values="influence")
    matrix = matrix.loc[matrix.mean(axis=1).sort_values(ascending=False).index]
    matrix = matrix[list(part["subset"].unique())]
    with figure_style():
        axes = axes or _axes(0.3 * matrix.shape[1] + 3.0, 0.26 * len(matrix) + 1.4)
        influence_panel(axes, matrix.to_numpy(dtype=np.float64))
        label_cells(axes, shortened(list(matrix.index), 24), shortened(list(matrix.columns)))
        title = str(part["testset"].iloc[0])
        axes.set_title(title, loc="left", fontweight="bold", pad=14)
    return axes


def _of(scores: pd.DataFrame, testset: str | None) -> pd.DataFrame:
    names = list(scores["testset"].unique())
    if testset is None and len(names) != 1:
        raise ValueError(f"testset=None: scores have {', '.join(map(str, names))}; name one")
    if testset is not None and testset not in names:
        raise ValueError(f"testset={testset!r}: scores have {', '.join(map(str, names))}")
    return scores[scores["testset"] == (names[0] if testset is None else testset)]


def _axes(width: float, height: float) -> Axes:
    _, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    return axes
