"""Figure style: a colour-blind safe palette that works in print and on light and dark pages."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK = "#1b1d22"
"""Colour of text and axes; pages replace it with their own (see `figures.svg_text`)."""
GRID = "#9aa0a6"

# The Okabe-Ito palette without black (INK) and yellow (too faint on white), plus four colours.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8A8D91",
    "#A65628", "#44AA99",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", "h", ">", "p", "d")
"""More than colours, so that a series past the last colour still looks like no other."""
DASHES = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))

_STYLE = Path(__file__).parent / "templates" / "figures.mplstyle"


@contextmanager
def figure_style() -> Iterator[None]:
    """Use the report's matplotlib settings within the context; the user's are restored."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.style.use(_STYLE)
        yield


def look(index: int) -> dict[str, Any]:
    """Return colour, marker and dash of the index-th series; distinct in greyscale too."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[(index + index // len(COLOURS)) % len(DASHES)],
    }


def blank_figure(width: float, height: float) -> Figure:
    """Create an empty figure (size in inches) with constrained layout, not tracked by pyplot."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def wrapped(text: str, inches: float, size: float = 9) -> str:
    """Wrap text to a width in inches; size: font size in points."""
    # A DejaVu Sans letter is about 0.62 em wide.
    return "\n".join(textwrap.wrap(text, max(6, int(inches * 72 / (0.62 * size))))) or text


def grid_shape(panels: int, columns: int) -> tuple[int, int]:
    """Return (rows, columns) for a number of panels, avoiding a nearly empty last row."""
    columns = max(1, min(panels, columns))
    rows = -(-panels // columns)
    return rows, -(-panels // rows)


def shortened(names: Sequence[str], length: int = 28) -> list[str]:
    """Shorten names to one line of at most `length` characters by cutting their middle."""
    names = [" ".join(name.split()) for name in names]
    head = length - length // 3 - 1
    return [n if len(n) <= length else f"{n[:head]}…{n[-(length // 3) :]}" for n in names]
