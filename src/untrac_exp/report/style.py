"""Figure style: a colour-blind safe palette, and names that fit."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.style

INK = "#1b1d22"
"""Colour of text and axes."""
GRID = "#9aa0a6"

# The Okabe-Ito palette without black (INK) and yellow (too faint on white), plus four colours.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8A8D91",
    "#A65628", "#44AA99",
)  # fmt: skip

_STYLE = Path(__file__).parent / "templates" / "figures.mplstyle"


def figure_style() -> AbstractContextManager[None]:
    """Use the report's matplotlib settings within the context; the user's are restored."""
    return matplotlib.style.context(_STYLE, after_reset=True)


def shortened(names: Sequence[str], length: int = 28) -> list[str]:
    """Shorten names to one line of at most `length` characters by cutting their middle."""
    names = [" ".join(name.split()) for name in names]
    head = length - length // 3 - 1
    return [n if len(n) <= length else f"{n[:head]}…{n[-(length // 3) :]}" for n in names]
