"""Figures: nothing cut, nothing overlapping, fonts embedded, whatever the names and sizes."""

import itertools
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from untrac_exp.report import drawings, style

NINE = [f"method_number_{i}" for i in range(8)] + ["untrac · optimizer=adafactor,lr=0.0005"]
LONG = "a corpus with quite a long name for a corpus"


@pytest.fixture(autouse=True)
def styled():
    with style.figure_style():
        yield


def shown_texts(figure: Figure) -> list[Text]:
    """Texts that a reader sees: not the ticks that matplotlib keeps outside of the axes."""
    hidden = set()
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted(limits)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not (axes.get_visible() and low <= tick.get_loc() <= high):
                    hidden |= {tick.label1, tick.label2}
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
        and (text.axes is None or text.axes.get_visible())
    ]  # fmt: skip


def check_layout(figure: Figure) -> None:
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    assert boxes
    width, height = figure.bbox.size
    for text, box in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text!r} is cut: {box} in {width} x {height}"
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        # One pixel of grace; the boxes of letters include empty room above and below them.
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 3
        assert not overlap, f"{one!r} and {other!r} overlap"


def influence_table(corpora, subsets, labels) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = itertools.product(labels, corpora, subsets)
    table = pd.DataFrame(rows, columns=["label", "corpus", "subset"])
    return table.assign(influence=rng.normal(0, 0.3, len(table)))


@pytest.mark.parametrize(
    ("n_corpora", "n_subsets", "labels"),
    [
        (2, 1, ["truth", "untrac"]),
        (8, 4, ["truth", "untrac", "untrac_inv", "graddot"]),
        (8, 26, ["truth", *NINE]),
        (30, 13, ["truth", *NINE]),
    ],
)
def test_the_heat_map_fits(n_corpora, n_subsets, labels):
    corpora = [f"corpus {i}" for i in range(n_corpora - 1)] + [LONG]
    subsets = [f"subset {i}" for i in range(n_subsets - 1)] + ["a longer name of a group"]
    check_layout(drawings.influence_heatmap(influence_table(corpora, subsets, labels), corpora))


@pytest.mark.parametrize("n", [2, 30])
@pytest.mark.parametrize("labels", [["untrac"], NINE])
def test_the_rankings_fit(n, labels):
    corpora = [f"corpus {i}" for i in range(n - 1)] + [LONG]
    table = influence_table(corpora, ["all"], labels)
    ends = {"ci_low": table["influence"] - 0.1, "ci_high": table["influence"] + 0.1}
    check_layout(drawings.ranking_bars(table.assign(**ends)))


@pytest.mark.parametrize("testsets", [["bias"], ["toxicity", "bias", "truthfulness", "a fourth"]])
@pytest.mark.parametrize("labels", [["untrac"], NINE])
def test_agreement_and_cost_fit(testsets, labels):
    table = pd.DataFrame(
        itertools.product(labels, testsets, [0, 1]), columns=["label", "testset", "seed"]
    )
    rng = np.random.default_rng(0)
    table = table.assign(
        pearson=rng.uniform(-0.4, 1, len(table)),
        spearman=rng.uniform(-0.4, 1, len(table)),
        attainable_pearson=0.95,
    )
    check_layout(drawings.agreement_bars(table))
    points = table[table["seed"] == 0].assign(
        std=0.05,
        attainable=0.95,
        wall_s=10 ** rng.uniform(0, 4, len(table) // 2),
        backward_tokens=10 ** rng.uniform(4, 10, len(table) // 2),
    )
    check_layout(drawings.accuracy_against_cost(points, {"wall_s": 5e4, "backward_tokens": 1e9}))


@pytest.mark.parametrize("n_corpora", [2, 30])
@pytest.mark.parametrize("labels", [["untrac"], NINE])
def test_trajectories_fit(n_corpora, labels):
    corpora = [f"corpus {i}" for i in range(n_corpora - 1)] + [LONG]
    table = influence_table(corpora, ["a", "b", "c"], labels).assign(seed=0)
    steps = [table.assign(step=s, influence=table["influence"] * s / 200) for s in (0, 50, 200)]
    check_layout(drawings.trajectories(pd.concat(steps), corpora))


def test_the_heat_map_shows_the_numbers_where_its_labels_say():
    corpora, subsets = ["b", "a", "c"], ["x", "y"]
    table = influence_table(["a", "b", "c"], subsets, ["truth", "untrac"])
    figure = drawings.influence_heatmap(table.sample(frac=1, random_state=0), corpora)
    panel = next(axes for axes in figure.axes if axes.get_title(loc="left") == "untrac")
    shown = panel.get_images()[0].get_array()
    columns = [label.get_text() for label in panel.get_xticklabels()]
    ours = table[table["label"] == "untrac"]
    expected = ours.pivot(index="corpus", columns="subset", values="influence")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == corpora
    expected = expected.loc[corpora, columns] / ours["influence"].abs().max()
    np.testing.assert_allclose(shown, expected)


def test_the_band_is_the_t_interval_of_the_mean():
    values = np.array([0.1, 0.4, 0.2, 0.7])
    table = pd.DataFrame({"label": "untrac", "corpus": "a", "subset": list("wxyz"), "seed": 0})
    steps = pd.concat([table.assign(step=0, influence=0.0), table.assign(step=5, influence=values)])
    axes = drawings.trajectories(steps, ["a"]).axes[0]
    edges = axes.collections[0].get_paths()[0].vertices
    at_end = edges[edges[:, 0] == 5][:, 1]
    # 3.182446 is the 97.5 % quantile of Student's t with 3 degrees of freedom.
    half = 3.182446 * values.std(ddof=1) / 2
    assert at_end.max() == pytest.approx(values.mean() + half, rel=1e-5)
    assert at_end.min() == pytest.approx(values.mean() - half, rel=1e-5)


def test_undefined_influences_and_correlations_are_drawn_as_such():
    table = influence_table(["a", "b"], ["x"], ["truth", "untrac"])
    table.loc[table["label"] == "untrac", "influence"] = np.nan
    check_layout(drawings.influence_heatmap(table, ["a", "b"]))
    row = {"label": "untrac", "testset": "t", "seed": 0, "pearson": np.nan, "spearman": np.nan}
    figure = drawings.agreement_bars(pd.DataFrame([{**row, "attainable_pearson": np.nan}]))
    assert "undefined" in [text.get_text() for text in shown_texts(figure)]


def test_series_differ_without_colour():
    looks = [style.look(i) for i in range(len(style.COLOURS))]
    assert len({item["color"] for item in looks}) == len(looks)
    assert len({item["marker"] for item in looks}) == len(looks)


def test_every_drawing_is_a_png_and_a_pdf_with_embedded_fonts(drawn):
    sweep, found = drawn
    directory = sweep.directory / "figures"
    assert {drawing.kind for drawing in found} == {
        "agreement", "cost", "influence", "trajectories",
    }  # fmt: skip
    assert len({drawing.name for drawing in found}) == len(found) == 6
    for drawing in found:
        assert (directory / f"{drawing.name}.png").read_bytes().startswith(b"\x89PNG")
        pdf = (directory / f"{drawing.name}.pdf").read_bytes()
        assert b"/FontFile2" in pdf
        assert b"/Type3" not in pdf


def test_svg_is_well_formed_takes_the_colour_of_the_page_and_shares_no_id(drawn):
    _, found = drawn
    seen: set[str] = set()
    for drawing in found:
        root = ElementTree.fromstring(drawing.svg)
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert not seen.intersection(ids)
        seen |= set(ids)
        for element in root.iter():
            link = element.get("{http://www.w3.org/1999/xlink}href", "#")
            assert link.startswith("data:image/png") or link == "#" or link[1:] in ids
        assert "currentColor" in drawing.svg
        assert style.INK not in drawing.svg
