"""Plots of scores, from `untrac_exp.trace` or a job's scores.csv, in the style of the report.

from untrac_exp.report import plot

from untrac_exp import trace

axes = plot.ranking(trace(...))
axes.figure.savefig("ranking.png")
"""

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from untrac_exp.report.coloured import Html, coloured_texts, environment
from untrac_exp.report.drawings import INFLUENCE, TITLE, bar_axes, influence_panel
from untrac_exp.report.style import INK, figure_style, shortened


def ranking(scores: pd.DataFrame, testset: str | None = None, axes: Axes | None = None) -> Axes:
    """Plot the corpora by their influence on a test set, averaged over its subsets.

    Args:
        scores: columns corpus, testset, subset, influence, ci_low and ci_high, in nats per token.
            If ``scores.attrs["ranking"]`` is set, its intervals of the mean are drawn; otherwise
            the interval ends averaged over subsets, which are at least as wide.
        testset: name of the test set; may be None if there is only one.
        axes: axes to draw on; None creates a figure.

    Returns:
        The axes.

    Raises:
        ValueError: `testset` is not in the scores, or is None and there are several.
    """
    part = _of(scores, testset)
    means = part.groupby("corpus", sort=False)[["influence", "ci_low", "ci_high"]].mean()
    kept = scores.attrs.get("ranking")
    if kept is not None:
        kept = kept[kept["testset"] == part["testset"].iloc[0]]
    table = means.reset_index() if kept is None or kept.empty else kept
    with figure_style():
        axes = axes or pyplot.subplots(figsize=(5.2, 0.26 * len(table) + 1.0))[1]
        table = table.sort_values("influence", ascending=False, kind="stable")
        places = range(len(table))
        axes.barh(places, table["influence"], height=0.62, alpha=0.85)
        axes.hlines(places, table["ci_low"], table["ci_high"], color=INK, linewidth=1)
        bar_axes(axes, shortened(list(table["corpus"]), 24))
        axes.set_title(str(part["testset"].iloc[0]), **TITLE)
        axes.set_xlabel(INFLUENCE)
    return axes


def heatmap(scores: pd.DataFrame, testset: str | None = None, axes: Axes | None = None) -> Axes:
    """Plot the influence of every corpus on every subset of a test set.

    Args:
        scores: columns corpus, testset, subset and influence.
        testset: name of the test set; may be None if there is only one.
        axes: axes to draw on; None creates a figure.

    Returns:
        The axes. Rows are corpora, the most influential first; columns are subsets. Colours are
        scaled to the largest influence, which is written above.

    Raises:
        ValueError: `testset` is not in the scores, or is None and there are several.
    """
    part = _of(scores, testset)
    matrix = part.pivot(index="corpus", columns="subset", values="influence")
    matrix = matrix.loc[matrix.mean(axis=1).sort_values(ascending=False).index]
    matrix = matrix[list(part["subset"].unique())]
    with figure_style():
        size = 0.3 * matrix.shape[1] + 3.0, 0.26 * len(matrix) + 1.4
        axes = axes or pyplot.subplots(figsize=size)[1]
        influence_panel(axes, matrix)
        axes.set_title(str(part["testset"].iloc[0]), pad=14, **TITLE)
    return axes


def tokens(scores: pd.DataFrame, corpus: str, testset: str | None = None) -> Html:
    """Show the test texts that a corpus moved most, each token coloured by the influence on it.

    Args:
        scores: of `untrac_exp.trace`, whose ``attrs["tokens"]`` is shown; or a table as tokens.csv.
        corpus: name of the corpus.
        testset: name of the test set; may be None if there is only one.

    Returns:
        Markup, which a notebook shows.

    Raises:
        ValueError: there are no tokens of the corpus, or of the test set.
    """
    table = scores.attrs.get("tokens", scores)
    names = [] if "token" not in table else list(table["corpus"].unique())
    if corpus not in names:
        raise ValueError(
            f"corpus={corpus!r}: there are tokens of {', '.join(names) or 'no corpus'}; methods "
            "that evaluate test texts give them, with tokens=10 or another number of texts"
        )
    part = _of(table, testset)
    style = environment().get_template("coloured.css").render()
    return Html(f"<style>{style}</style>{coloured_texts(part[part['corpus'] == corpus])}")


def _of(scores: pd.DataFrame, testset: str | None) -> pd.DataFrame:
    names = list(scores["testset"].unique())
    if testset is None and len(names) != 1:
        raise ValueError(f"testset=None: scores have {', '.join(map(str, names))}; name one")
    if testset is not None and testset not in names:
        raise ValueError(f"testset={testset!r}: scores have {', '.join(map(str, names))}")
    return scores[scores["testset"] == (names[0] if testset is None else testset)]
