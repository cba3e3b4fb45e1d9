"""Cost against the number of corpora and against the depth of the model.

    make scaling
    python -m experiments.scaling.figure [--scale mini] [--readme]

Reads `metrics.json` and `scores.csv` of the sweeps `scaling_corpora` and `scaling_model`, and the
cost of the truth's models from the store.
"""

import sys

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullFormatter, NullLocator

from experiments.drawings import look
from experiments.published import Place, jobs, run, save, truth_cost
from experiments.tables import METHODS, markdown
from untrac_exp.report.style import figure_style

SWEEPS = {"scaling_corpora": "corpora", "scaling_model": "layers of the model"}
COSTS = {
    "scaling_corpora": {"wall_s": "seconds of one process", "passes": "tokens × passes"},
    "scaling_model": {"wall_s": "seconds of one process", "passes": "tokens × passes × layers"},
}
WAYS = {
    "untrac": METHODS["untrac"],
    "untrac_inv": METHODS["untrac_inv"],
    "leave_dataset_out": "Leave-dataset-out",
}


def points(place: Place, experiment: str) -> pd.DataFrame:
    """Columns way, x, wall_s, passes.

    passes: tokens read forward, and twice those that a gradient is taken of; times the layers where
    they differ. Leave-dataset-out is
    counted with one train seed, θ0 included; it is missing where the store no longer has it.
    """
    sweep = place.sweep(experiment)
    rows = []
    for job, scores in jobs(sweep, list(WAYS), "scores"):
        x = (
            scores["corpus"].nunique()
            if experiment == "scaling_corpora"
            else job["config"]["model"]["config"]["num_hidden_layers"]
        )
        costs = {job["method"]: job["cost"], "leave_dataset_out": truth_cost(place, job, seeds=1)}
        for way, cost in costs.items():
            if way in WAYS and cost:
                passes = cost["forward_tokens"] + 2 * cost["backward_tokens"]
                passes *= x if experiment == "scaling_model" else 1
                rows.append({"way": way, "x": x, "wall_s": cost["wall_s"], "passes": passes})
    table = pd.DataFrame(rows, columns=["way", "x", "wall_s", "passes"])
    return table.groupby(["way", "x"], sort=False).mean().reset_index().sort_values("x")


def publish(place: Place) -> str:
    """Draw the figure; return its numbers as Markdown."""
    tables = {experiment: points(place, experiment) for experiment in SWEEPS}
    with figure_style():
        figure = Figure(figsize=(7.2, 5.2))
        grid = figure.subplots(2, 2, squeeze=False)
        for row, (experiment, table) in zip(grid, tables.items(), strict=True):
            for axes, (cost, named) in zip(row, COSTS[experiment].items(), strict=True):
                for i, way in enumerate(WAYS):
                    line = table[table["way"] == way]
                    axes.plot(line["x"], line[cost], **look(i))
                axes.set_xscale("log", base=2)
                axes.set_yscale("log")
                axes.xaxis.set_minor_locator(NullLocator())
                axes.set_xticks(sorted(table["x"].unique()), sorted(table["x"].unique()))
                axes.yaxis.set_major_formatter(EngFormatter(sep=""))
                axes.yaxis.set_minor_formatter(NullFormatter())
                axes.set_xlabel(SWEEPS[experiment])
                axes.set_ylabel(named)
                axes.grid()
        handles = [Line2D([], [], label=name, **look(i)) for i, name in enumerate(WAYS.values())]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        save(place, figure)
    parts = []
    for experiment, table in tables.items():
        wide = table.assign(way=table["way"].map(WAYS)).pivot(
            index="x", columns="way", values=list(COSTS[experiment])
        )
        cells = pd.DataFrame(
            {
                f"{way}, {named}": wide[cost, way].map(lambda x: f"{x:,.0f}")
                for cost, named in COSTS[experiment].items()
                for way in WAYS.values()
                if (cost, way) in wide
            }
        )
        parts.append(markdown(cells.rename_axis(index=SWEEPS[experiment])))
        parts.append(growth(wide, experiment))
    return "\n\n".join(parts)


def growth(wide: pd.DataFrame, experiment: str) -> str:
    """The passes at the largest x over those at the smallest, as a sentence.

    wide: a row for each x, columns (cost, way).
    """
    times = (wide.iloc[-1] / wide.iloc[0])["passes"]
    said = ", ".join(f"{way} {times[way]:.2f}" for way in WAYS.values() if way in times)
    first, last, x = wide.index[0], wide.index[-1], SWEEPS[experiment]
    return f"{COSTS[experiment]['passes']}, {last} {x} against {first}: {said} times as many."


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
