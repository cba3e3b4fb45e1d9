"""Draw the figures of a sweep: PNG and PDF files, and SVG for the page."""

import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from untrac_exp.report import drawings
from untrac_exp.report.result_files import write_bytes
from untrac_exp.report.results import Sweep
from untrac_exp.report.style import INK, figure_style

_ALT = {
    "agreement": "Correlation of each method with the truth for each test set, with the attainable "
    "ceiling; the agreement table has the same numbers.",
    "cost": "Correlation with the truth against the cost of each method in seconds and in backward "
    "tokens; the agreement table has the same numbers.",
    "ranking": "Corpora by their influence on {} with 95 % intervals, one panel per method; the "
    "ranking has the same numbers.",
    "influence": "Influence of every corpus on every subset of {}, one panel for the truth and "
    "each method; scores.csv has the same numbers.",
    "trajectories": "Influence of every corpus on {} by unlearning step; trajectory.csv has the "
    "same numbers.",
}


@dataclass(frozen=True)
class Drawing:
    """A rendered figure.

    Attributes:
        name: file name without suffix.
        kind: a key of `_ALT`.
        testset: "" if the figure shows all test sets.
        alt: text alternative.
        svg: for embedding in a page.
        width: in inches.
    """

    name: str
    kind: str
    testset: str
    alt: str
    svg: str
    width: float


def draw_all(sweep: Sweep, directory: Path) -> list[Drawing]:
    """Draw every figure the sweep has data for; write ``<name>.png`` and ``<name>.pdf``.

    Returns:
        The drawings in report order.
    """
    rendered = []
    names = _file_names(sweep.testsets)
    with figure_style(), warnings.catch_warnings():
        # Characters missing from the font are drawn as boxes; the tables show them correctly.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for kind, testset, figure in _figures(sweep):
            name = f"{kind}-{names[testset]}" if testset else kind
            _lay_out(figure)
            write_bytes(directory / f"{name}.png", _file(figure, format="png", dpi=160))
            # Omit the date so that the output is reproducible.
            pdf = _file(figure, format="pdf", metadata={"CreationDate": None})
            write_bytes(directory / f"{name}.pdf", pdf)
            svg, alt = svg_text(figure, name), _ALT[kind].format(testset)
            rendered.append(Drawing(name, kind, testset, alt, svg, figure.get_figwidth()))
    return rendered


def heatmap(sweep: Sweep, testset: str) -> Figure:
    """Draw the influence heat map of one test set; call it within `style.figure_style()`."""
    table = sweep.influences
    of_testset = table[table["testset"] == testset]
    return drawings.influence_heatmap(of_testset, sweep.corpora(testset))


def _figures(sweep: Sweep) -> Iterator[tuple[str, str, Figure]]:
    """Yield (kind, testset, figure) of every figure; testset is "" if it shows all."""
    if len(sweep.truth):
        yield "agreement", "", drawings.agreement_bars(sweep.agreement, sweep.over)
        points = sweep.summary.rename(columns={"pearson_mean": "pearson", "pearson_std": "std"})
        yield "cost", "", drawings.accuracy_against_cost(points)
    for testset in sweep.testsets:
        if sweep.truth.empty:
            yield "ranking", testset, drawings.ranking_bars(sweep.rankings[testset])
        yield "influence", testset, heatmap(sweep, testset)
        part = sweep.trajectory[sweep.trajectory["testset"] == testset]
        if len(part):
            yield "trajectories", testset, drawings.trajectories(part, sweep.corpora(testset))


def _file_names(testsets: list[str]) -> dict[str, str]:
    """Map each test set to a unique, readable file name."""
    names: dict[str, str] = {}
    for i, testset in enumerate(testsets):
        name = re.sub(r"[^\w.-]+", "_", testset).strip("._") or str(i)
        names[testset] = f"{name}-{i}" if name.lower() in map(str.lower, names.values()) else name
    return names


def _lay_out(figure: Figure) -> None:
    """Run the layout engine and remove it, since with one every savefig runs it twice."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine(None)


def _file(figure: Figure, **options: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, **options)
    return content.getvalue()


def svg_text(figure: Figure, name: str) -> str:
    """Return SVG for embedding: no background, text in the page's colour, unique ids."""
    about = {"Date": None, "Creator": None}
    with matplotlib.rc_context({"svg.hashsalt": name}):
        text = _file(figure, format="svg", transparent=True, metadata=about).decode("utf-8")
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Make ids unique within a page with several drawings; references are "#id" and "url(#id)".
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
