"""How figures look: colours that everybody can tell apart, in print and on a dark page alike."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK = "#1b1d22"
"""Of text and axes; a page may replace this very colour by its own (see `figures.svg_text`)."""
GRID = "#9aa0a6"

# Okabe and Ito's colours without black (INK) and yellow (too faint on white), and four more.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8A8D91",
    "#A65628", "#44AA99",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", "h")
DASHES = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
DIVERGING = "RdBu_r"

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so figures look the same everywhere
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "grid.color": GRID,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,  # fonts embedded as TrueType: text stays text
    "svg.fonttype": "path",  # a page has no font of ours, so letters are drawn
    "figure.dpi": 100,
    "text.parse_math": False,  # a corpus may be called a$b$
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and save within this, so that nobody's matplotlib settings leak in or out."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def look(index: int) -> dict[str, Any]:
    """Colour, marker and dash of the index-th series; they differ in grey, too."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[(index + index // len(COLOURS)) % len(DASHES)],
    }


def blank_figure(width: float, height: float) -> Figure:
    """An empty figure, inches; it makes room for its labels itself and owes pyplot nothing."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def wrapped(text: str, inches: float, size: float = 9) -> str:
    """Text broken into lines no wider than this."""
    # A letter of DejaVu Sans is about 0.62 em wide.
    return "\n".join(textwrap.wrap(text, max(6, int(inches * 72 / (0.62 * size))))) or text


def grid_shape(panels: int, columns: int) -> tuple[int, int]:
    """(rows, columns) for so many panels, no row left nearly empty."""
    columns = max(1, min(panels, columns))
    rows = -(-panels // columns)
    return rows, -(-panels // rows)


def shortened(names: Sequence[str], length: int = 28) -> list[str]:
    """Names on one line, their middle left out where they are longer than this."""
    names = [" ".join(name.split()) for name in names]
    head = length - length // 3 - 1
    return [n if len(n) <= length else f"{n[:head]}…{n[-(length // 3) :]}" for n in names]
