"""Figures of scores: what they show, and that a report shows the same."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from untrac_exp.report import drawings, plot, style

matplotlib.use("agg")
SCORES = pd.DataFrame(
    [
        ("wiki", "bad", "a", 0.1, 0.0, 0.2), ("wiki", "bad", "b", -0.3, -0.4, -0.2),
        ("forum", "bad", "a", 0.6, 0.5, 0.7), ("forum", "bad", "b", 0.2, 0.1, 0.3),
    ],
    columns=["corpus", "testset", "subset", "influence", "ci_low", "ci_high"],
)  # fmt: skip


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def bars(axes):
    names = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(names, (bar.get_width() for bar in axes.patches), strict=True))


def test_the_ranking_has_the_means_over_subsets_with_the_largest_on_top():
    axes = plot.ranking(SCORES)
    assert bars(axes) == pytest.approx({"forum": 0.4, "wiki": -0.1})
    assert list(bars(axes)) == ["forum", "wiki"]
    assert axes.yaxis_inverted()
    [intervals] = axes.collections
    ends = [tuple(segment[:, 0]) for segment in intervals.get_segments()]
    assert ends == [pytest.approx((0.3, 0.5)), pytest.approx((-0.2, 0.0))]


def test_the_heat_map_is_the_panel_of_the_report():
    axes = plot.heatmap(SCORES)
    drawn = axes.images[0].get_array()
    assert np.allclose(drawn, [[1, 1 / 3], [1 / 6, -0.5]])
    with style.figure_style():
        report = drawings.influence_heatmap(SCORES.assign(label="m"), ["forum", "wiki"])
    panel = report.axes[0]
    assert np.array_equal(panel.images[0].get_array(), drawn)
    assert panel.images[0].cmap == axes.images[0].cmap
    assert [t.get_text() for t in panel.texts] == [t.get_text() for t in axes.texts] == ["±0.6"]


def test_axes_that_are_given_are_drawn_on():
    figure, (left, right) = pyplot.subplots(1, 2)
    assert plot.ranking(SCORES, axes=left) is left
    assert plot.heatmap(SCORES, "bad", right) is right
    assert pyplot.get_fignums() == [figure.number]


def test_a_test_set_has_to_be_named_where_there_are_two():
    two = pd.concat([SCORES, SCORES.assign(testset="worse")])
    with pytest.raises(ValueError, match="scores have bad, worse; name one"):
        plot.ranking(two)
    with pytest.raises(ValueError, match="testset='good': scores have bad, worse"):
        plot.heatmap(two, "good")
