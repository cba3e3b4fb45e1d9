"""Draw the figures of a sweep: PNG and PDF files, and SVG for the page."""

import base64
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from matplotlib.figure import Figure

from untrac_exp.report import drawings
from untrac_exp.report.result_files import write_bytes
from untrac_exp.report.results import Sweep
from untrac_exp.report.style import figure_style

_FILES: dict[str, dict[str, Any]] = {
    "png": {"dpi": 160},
    "pdf": {"metadata": {"CreationDate": None}},
}
"""Formats with their options; without a date the files are reproducible."""


class Drawing(NamedTuple):
    """A rendered figure.

    kind: such as "influence". testset: "" if the figure shows all test sets. url: the SVG, as a
    data URL for a page.
    """

    name: str
    kind: str
    testset: str
    url: str


def draw_all(sweep: Sweep, directory: Path) -> list[Drawing]:
    """Draw every figure the sweep has data for; write ``<name>.png`` and ``<name>.pdf``.

    Returns:
        The drawings in report order.
    """
    rendered = []
    with figure_style(), warnings.catch_warnings():
        # Characters missing from the font are drawn as boxes; the tables show them correctly.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for kind, testset, figure in _figures(sweep):
            name = "-".join(filter(None, (kind, quote(testset, safe=" "))))
            for suffix, options in _FILES.items():
                write_bytes(directory / f"{name}.{suffix}", _file(figure, suffix, **options))
            svg = base64.b64encode(_file(figure, "svg", metadata={"Date": None})).decode()
            rendered.append(Drawing(name, kind, testset, f"data:image/svg+xml;base64,{svg}"))
    return rendered


def _figures(sweep: Sweep) -> Iterator[tuple[str, str, Figure]]:
    """Yield (kind, testset, figure) of every figure; testset is "" if it shows all."""
    if sweep.has_truth:
        yield "agreement", "", drawings.agreement_bars(sweep.agreement, sweep.over)
    for testset in sweep.testsets:
        influences = sweep.influences[sweep.influences["testset"] == testset]
        yield "influence", testset, drawings.influence_heatmap(influences, sweep.corpora(testset))


def _file(figure: Figure, suffix: str, **options: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=suffix, **options)
    return content.getvalue()
