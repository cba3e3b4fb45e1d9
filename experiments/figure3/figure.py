"""Figure 3: agreement with the truth against unlearning epochs, for batches of one and full batch.

    make figure3
    python -m experiments.figure3.figure [--scale mini] [--readme]

Reads `trajectory.csv` and `truth.csv` of the sweep `sensitivity_epochs`.
"""

import sys

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from experiments.drawings import look, mean_with_band
from experiments.published import Place, agreement_along, cost, jobs, run, save, unlearning_epochs
from experiments.tables import METHODS, markdown, plus_minus
from untrac_exp.report.style import INK, figure_style

BATCHES = {"1": "batch of 1", "256": "full batch"}
UNLEARNING = ("untrac", "untrac_inv")


def curves(place: Place) -> pd.DataFrame:
    """Return columns method, batch, seed, subset, epochs, pearson, without undefined values."""
    sweep = place.sweep("sensitivity_epochs")
    tables = []
    for job, trajectory in jobs(sweep, UNLEARNING, "trajectory"):
        batch = job["overrides"].get("method.batch_size")
        if batch in BATCHES:
            # Before the first step all influences are 0, so correlations are undefined.
            started = trajectory[trajectory["step"] > 0]
            along = pd.DataFrame(agreement_along(sweep, job, started, by="subset"))
            inverse = job["method"] == "untrac_inv"
            epochs = unlearning_epochs(along["step"], job["config"], inverse)
            tables.append(along.assign(batch=batch, epochs=epochs))
    table = pd.concat(tables) if tables else pd.DataFrame(columns=["method", "batch"])
    for method in UNLEARNING:
        for batch in BATCHES:
            if not ((table["method"] == method) & (table["batch"] == batch)).any():
                raise ValueError(f"{sweep.directory}: no {method} with batches of {batch}; "
                                 "run make figure3")  # fmt: skip
    return table.dropna(subset="pearson")


def publish(place: Place) -> str:
    """Draw the figure; return the agreement along the epochs as Markdown."""
    table = curves(place)
    with figure_style():
        figure = Figure(figsize=(7.2, 3.1))
        grid = figure.subplots(1, 2, squeeze=False, sharey=True)[0]
        for axes, method in zip(grid, UNLEARNING, strict=True):
            for i, batch in enumerate(BATCHES):
                part = table[(table["method"] == method) & (table["batch"] == batch)]
                mean_with_band(axes, part, "epochs", "pearson", look(i))
            axes.axhline(0, color=INK, linewidth=0.7)
            axes.set_title(METHODS[method], loc="left", fontweight="bold")
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("unlearning epochs")
            axes.grid()
        grid[0].set_ylabel("Pearson with the truth")
        handles = [Line2D([], [], label=name, **look(i)) for i, name in enumerate(BATCHES.values())]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        save(place, figure)
    rows = {}
    for method in UNLEARNING:
        for batch, name in BATCHES.items():
            part = table[(table["method"] == method) & (table["batch"] == batch)]
            line = part.groupby("epochs")["pearson"].mean()
            rows[f"{METHODS[method]}, {name}"] = {
                "first reading": plus_minus(line.iloc[0]),
                "best": plus_minus(line.max()),
                "best at epoch": f"{line.idxmax():.3g}",
                "last reading": plus_minus(line.iloc[-1]),
            }
    text = markdown(pd.DataFrame(rows).T.rename_axis(index="unlearning"))
    return (
        f"Pearson on toxicity, mean over subsets:\n\n{text}\n\n{cost(place, 'sensitivity_epochs')}"
    )


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
