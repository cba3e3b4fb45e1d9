"""The leaderboard: every method on every benchmark, agreement as a share of the attainable.

    make leaderboard
    python -m experiments.leaderboard.board [--scale mini] [--readme] [--picture]

Reads the sweeps of `BENCHMARKS` that are there and says which are not. With ``--readme`` the table
goes into docs/results.md, between its marks ``leaderboard``, and the figure beside it. With
``--picture`` nothing is read but that table, which may join several runs, and the figure is of it.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.published import Place, commits, marks, run, save
from experiments.tables import markdown, write_table
from untrac_exp.report.results import Sweep
from untrac_exp.report.style import COLOURS, figure_style
from untrac_exp.statistics.agreement import truth_mean

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results.md"
BENCHMARKS = {
    "natural": "natural",
    "natural, subsets": "natural_subsets",
    "docstrings": "docstrings",
    "invented": "harms",
    "invented, subsets": "harms_subsets",
    "tasks A": "tasks_a",
    "tasks B": "tasks_b",
}
"""Heading -> experiment. The first is the headline: it orders the methods."""
RESAMPLES = 500
ALT = (
    "The table above as a picture: a panel for each benchmark, a point for each method with its "
    "interval"
)


@dataclass(frozen=True)
class Entry:
    """One method on one benchmark: share of the attainable agreement, its interval, seconds."""

    share: float
    low: float
    high: float
    seconds: float


def entries(sweep: Sweep) -> dict[str, Entry]:
    """Method -> its entry, the mean over test sets and runs.

    The agreement is Pearson, or Spearman (LDS) where the truth is of random subsets. The interval
    is a 95 % bootstrap over corpora, shared by all methods; NaN for random subsets, whose models
    are not independent.
    """
    subsets = any("LDS" in str(job.get("over")) for job in sweep.metrics)
    statistic = "spearman" if subsets else "pearson"
    table = sweep.agreement[sweep.agreement["variant"] == ""]
    shares = (table[statistic] / table[f"attainable_{statistic}"]).groupby(table["method"])
    seconds = table.groupby("method")["wall_s"].mean().to_dict()
    draws = {} if subsets else resampled(sweep)
    found = {}
    for method, share in shares.agg(lambda values: values.mean(skipna=False)).items():
        low, high = np.nan, np.nan
        if method in draws:
            low, high = np.nanquantile(draws[method], [0.025, 0.975])
        found[str(method)] = Entry(float(share), float(low), float(high), float(seconds[method]))
    return found


def resampled(sweep: Sweep) -> dict[str, np.ndarray]:
    """Method -> its share of the attainable agreement over resampled corpora (`RESAMPLES`,)."""
    scores = sweep.scores[sweep.scores["variant"] == ""]
    truth = truth_mean(sweep.truth[sweep.truth["variant"] == ""])
    attainable = sweep.agreement.groupby("testset")["attainable_pearson"].first()
    corpora = list(truth["corpus"].unique())
    theirs = truth.pivot(index=["testset", "subset"], columns="corpus", values="influence")[corpora]
    random = np.random.default_rng(0)
    counts = random.multinomial(len(corpora), np.full(len(corpora), 1 / len(corpora)), RESAMPLES)
    weights = counts[(counts > 0).sum(1) > 2] / len(corpora)
    found: dict[str, list[np.ndarray]] = {}
    runs = ["method", "train_seed", "seed", "testset", "subset"]
    ours = scores.pivot(index=runs, columns="corpus", values="influence")[corpora]
    sizes = theirs.groupby("testset").size()
    for at, x in zip(ours.index, ours.to_numpy(), strict=True):
        y = theirs.loc[at[3:]].to_numpy()
        r = _correlations(x, y, weights) / attainable[at[3]]
        found.setdefault(str(at[0]), []).append(r / sizes[at[3]])
    weight: dict[str, float] = {}
    for at in ours.index:
        weight[str(at[0])] = weight.get(str(at[0]), 0.0) + 1 / sizes[at[3]]
    return {method: np.sum(values, axis=0) / weight[method] for method, values in found.items()}


def _correlations(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson of x and y (C,) under every row of weights (R, C), which sum to 1."""
    dx, dy = x - (weights @ x)[:, None], y - (weights @ y)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (weights * dx * dy).sum(1) / np.sqrt(
            (weights * dx**2).sum(1) * (weights * dy**2).sum(1)
        )
    return np.asarray(r)


def publish(place: Place) -> str:
    """Write the table and the figure; return the table as Markdown."""
    boards: dict[str, dict[str, Entry]] = {}
    jobs, missing = [], []
    for name, experiment in BENCHMARKS.items():
        try:
            sweep = place.sweep(experiment)
        except ValueError:
            missing.append(f"`+experiment={experiment}`")
            continue
        boards[name] = entries(sweep)
        jobs += sweep.metrics
    if not boards:
        raise ValueError(f"{place.outputs}: none of the benchmarks; run make leaderboard")
    first = next(iter(boards.values()))
    methods = list(dict.fromkeys(method for board in boards.values() for method in board))
    methods.sort(key=lambda method: -first[method].share if method in first else np.inf)
    rows = []
    for method in methods:
        row = {"method": f"`{method}`"}
        for name, board in boards.items():
            row[name] = _cell(board[method]) if method in board else ""
        rows.append(row | {"seconds": f"{first[method].seconds:.0f}" if method in first else ""})
    table = pd.DataFrame(rows).set_index("method")
    caption = "Agreement with the truth as a share of the attainable, 95 % over corpora"
    write_table(place, table.reset_index(), table, caption)
    with figure_style():
        save(place, draw(boards, methods))
    not_run = f"\n\nNot run: {', '.join(missing)}." if missing else ""
    return (
        f"{markdown(table)}\n\n{caption}, mean over test sets and runs; seconds of a job on "
        f"{next(iter(boards))}. Run at {' and '.join(commits(jobs))}; printed by "
        f"`python -m experiments.leaderboard.board --readme`.{not_run}\n\n"
        f"![{ALT}](leaderboard.png)"
    )


def _cell(entry: Entry) -> str:
    if np.isnan(entry.share):
        return "–"
    interval = "" if np.isnan(entry.low) else f" ({entry.low:.2f} to {entry.high:.2f})"
    return f"{entry.share:.2f}{interval}".replace("-", "−")


def written(page: Path) -> tuple[dict[str, dict[str, Entry]], list[str]]:
    """Benchmark -> method -> entry of the table on a page, and its methods from top to bottom."""
    begin, end = marks("leaderboard")
    text = page.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    heading, _, *rows = [[cell.strip(" `") for cell in line] for line in lines]
    boards: dict[str, dict[str, Entry]] = {name: {} for name in heading[1:-1]}
    for method, *cells, _ in rows:
        for name, cell in zip(boards, cells, strict=True):
            numbers = [float(x) for x in re.findall(r"-?\d+\.\d+", cell.replace("−", "-"))]
            if numbers:
                low, high = numbers[1:] or (np.nan, np.nan)
                boards[name][method] = Entry(numbers[0], low, high, np.nan)
    return boards, [method for method, *_ in rows]


def draw(boards: dict[str, dict[str, Entry]], methods: Sequence[str]) -> Figure:
    """Methods from top to bottom, a panel for each benchmark, intervals as bars.

    Two panels side by side and large type, to be read on a phone.
    """
    columns = min(2, len(boards))
    rows = -(-len(boards) // columns)
    figure = Figure(figsize=(2.1 + 2.2 * columns, rows * (0.6 + 0.26 * len(methods)) + 0.4))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for ax in grid[len(boards) :]:
        ax.set_visible(False)
    for ax, (name, board) in zip(grid, boards.items(), strict=False):
        for method, entry in board.items():
            y = methods.index(method)
            ax.plot([entry.low, entry.high], [y, y], color="0.7", linewidth=3, zorder=1)
            ax.plot(entry.share, y, "o", color=COLOURS[0], markersize=7, zorder=2)
        ax.set_title(name, fontsize=13, fontweight="bold", loc="left")
        ax.set_xlim(min(-0.05, *(e.share - 0.05 for e in board.values())), 1.08)
        ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        ax.tick_params(labelsize=13)
        ax.tick_params(axis="y", length=0)
        ax.axvline(1, color="0.6", linestyle=":", zorder=0)
        ax.grid(axis="y")
    grid[0].set_yticks(range(len(methods)), methods)
    grid[0].invert_yaxis()
    figure.supxlabel("agreement ÷ attainable", fontsize=13)
    return figure


def main(arguments: Sequence[str]) -> int:
    """Publish the board, or draw the table of the page; exit status 1 with one line on error."""
    if "--picture" not in arguments:
        return run(__file__, publish, arguments, PAGE, "leaderboard")
    with figure_style():
        draw(*written(PAGE)).savefig(PAGE.with_name("leaderboard.png"), dpi=160)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
