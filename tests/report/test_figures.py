"""Figures: nothing cut, nothing overlapping, fonts embedded, whatever the names and sizes."""

import itertools

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


@pytest.mark.parametrize("testsets", [["bias"], ["toxicity", "bias", "truthfulness", "a fourth"]])
@pytest.mark.parametrize("labels", [["untrac"], NINE])
def test_agreement_fits(testsets, labels):
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


def test_every_drawing_is_a_png_and_a_pdf_with_embedded_fonts(drawn):
    sweep, found = drawn
    directory = sweep.directory / "figures"
    assert {drawing.kind for drawing in found} == {"agreement", "influence"}
    assert len({drawing.name for drawing in found}) == len(found) == 3
    for drawing in found:
        assert (directory / f"{drawing.name}.png").read_bytes().startswith(b"\x89PNG")
        pdf = (directory / f"{drawing.name}.pdf").read_bytes()
        assert b"/FontFile2" in pdf
        assert b"/Type3" not in pdf
