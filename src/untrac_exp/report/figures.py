"""Draw the figures of a sweep: PNG and PDF files, and SVG for the page."""

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from untrac_exp.report import drawings
from untrac_exp.report.collect import Sweep
from untrac_exp.report.style import INK, figure_style
from untrac_exp.report.tables import influences, ranking, summarise
from untrac_exp.result_files import write_bytes

_DPI = 160


@dataclass(frozen=True)
class Drawing:
    """A rendered figure.

    Attributes:
        name: file name without suffix.
        kind: ranking, influence, trajectories, agreement or cost.
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
    with figure_style(), warnings.catch_warnings():
        # Characters missing from the font are drawn as boxes; the tables show them correctly.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        return [_save(directory, *figure) for figure in _figures(sweep)]


def heatmap_png(sweep: Sweep, testset: str) -> bytes:
    """Return the influence heat map of one test set as PNG."""
    with figure_style():
        return _png(_laid_out(_heatmap(sweep, testset)), dpi=100)


def _figures(sweep: Sweep) -> list[tuple[str, str, str, str, Figure]]:
    """Return (name, kind, testset, alt, figure) of every figure."""
    found = []
    if len(sweep.truth):
        alt = "Correlation of each method with the truth for each test set, with the attainable "
        alt += "ceiling; the agreement table has the same numbers."
        bars = drawings.agreement_bars(sweep.agreement, sweep.over)
        found.append(("agreement", "agreement", "", alt, bars))
        points = summarise(sweep).rename(columns={"pearson_mean": "pearson", "pearson_std": "std"})
        # In job order, as in the other figures; the summary is sorted.
        points["testset"] = pd.Categorical(points["testset"], sweep.testsets)
        points = points.sort_values(["testset", "label"])
        alt = "Correlation with the truth against the cost of each method in seconds and in "
        alt += "backward tokens; the agreement table has the same numbers."
        found.append(("cost", "cost", "", alt, drawings.accuracy_against_cost(points)))
    names = _file_names(sweep.testsets)
    for testset in sweep.testsets:
        if sweep.truth.empty:
            alt = f"Corpora by their influence on {testset} with 95 % intervals, one panel per "
            alt += "method; the ranking has the same numbers."
            bars = drawings.ranking_bars(ranking(sweep, testset))
            found.append((f"ranking-{names[testset]}", "ranking", testset, alt, bars))
        alt = f"Influence of every corpus on every subset of {testset}, one panel for the truth "
        alt += "and each method; scores.csv has the same numbers."
        heatmap = _heatmap(sweep, testset)
        found.append((f"influence-{names[testset]}", "influence", testset, alt, heatmap))
        part = sweep.trajectory[sweep.trajectory["testset"] == testset]
        if len(part):
            alt = f"Influence of every corpus on {testset} by unlearning step; trajectory.csv has "
            alt += "the same numbers."
            lines = drawings.trajectories(part, _order(sweep, testset))
            found.append((f"trajectories-{names[testset]}", "trajectories", testset, alt, lines))
    return found


def _heatmap(sweep: Sweep, testset: str) -> Figure:
    table = influences(sweep)
    return drawings.influence_heatmap(table[table["testset"] == testset], _order(sweep, testset))


def _order(sweep: Sweep, testset: str) -> list[str]:
    """Return the corpora by rank, in table order."""
    return list(ranking(sweep, testset)["corpus"].unique())


def _file_names(testsets: list[str]) -> dict[str, str]:
    """Map each test set to a unique, readable file name."""
    names: dict[str, str] = {}
    for i, testset in enumerate(testsets):
        name = re.sub(r"[^\w.-]+", "_", testset).strip("._") or str(i)
        names[testset] = f"{name}-{i}" if name.lower() in map(str.lower, names.values()) else name
    return names


def _save(directory: Path, name: str, kind: str, testset: str, alt: str, figure: Figure) -> Drawing:
    _laid_out(figure)
    write_bytes(directory / f"{name}.png", _png(figure, _DPI))
    pdf = io.BytesIO()
    # Omit the date so that the output is reproducible.
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    write_bytes(directory / f"{name}.pdf", pdf.getvalue())
    return Drawing(name, kind, testset, alt, svg_text(figure, name), figure.get_figwidth())


def _laid_out(figure: Figure) -> Figure:
    """Run the layout engine and remove it, since with one every savefig runs it twice."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine(None)
    return figure


def _png(figure: Figure, dpi: int) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=dpi)
    return png.getvalue()


def svg_text(figure: Figure, name: str) -> str:
    """Return SVG for embedding: no background, text in the page's colour, unique ids."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        about = {"Date": None, "Creator": None}
        figure.savefig(file, format="svg", transparent=True, metadata=about)
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Make ids unique within a page with several drawings; references are "#id" and "url(#id)".
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
