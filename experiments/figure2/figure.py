"""Figure 2: influence of four fine-tuning tasks on a test task, along the unlearning.

    make figure2
    python -m experiments.figure2.figure [--scale mini] [--readme]

Reads `trajectory.csv` of the sweeps `tasks_a` and `tasks_b`.
"""

import sys

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.drawings import look, mean_with_band
from experiments.published import Place, jobs, run, save, unlearning_epochs, varied
from experiments.tables import METHODS, markdown
from untrac_exp.report.style import INK, figure_style

TASKS = {"sim_same": "SimSame", "sim_diff": "SimDiff", "dis_same": "DisSame", "dis_diff": "DisDiff"}
UNLEARNING = ("untrac", "untrac_inv")


def lines(place: Place) -> pd.DataFrame:
    """Columns tasks, method, train_seed, seed, corpus, epochs, influence (nats per token)."""
    tables = []
    for suite in ("A", "B"):
        sweep = place.sweep(f"tasks_{suite.lower()}")
        for job, table in jobs(sweep, UNLEARNING, "trajectory"):
            if not job["variant"]:
                inverse = job["method"] == "untrac_inv"
                epochs = unlearning_epochs(table["step"], job["config"], inverse)
                tables.append(table.assign(tasks=suite, epochs=epochs))
    found = pd.concat(tables) if tables else pd.DataFrame(columns=["tasks", "method"])
    for suite in ("A", "B"):
        for method in UNLEARNING:
            if not ((found["tasks"] == suite) & (found["method"] == method)).any():
                raise ValueError(f"tasks {suite}: no trajectory of {method}; run make figure2")
    return found[["tasks", "method", "train_seed", "seed", "corpus", "epochs", "influence"]]


def publish(place: Place) -> str:
    """Draw the figure; return the influences at the end as Markdown."""
    table = lines(place)
    with figure_style():
        figure = Figure(figsize=(7.2, 5.4))
        grid = figure.subplots(2, 2, squeeze=False)
        for row, suite in zip(grid, ("A", "B"), strict=True):
            for axes, method in zip(row, UNLEARNING, strict=True):
                part = table[(table["tasks"] == suite) & (table["method"] == method)]
                for i, corpus in enumerate(TASKS):
                    one = part[part["corpus"] == corpus]
                    mean_with_band(axes, one, "epochs", "influence", look(i))
                axes.axhline(0, color=INK, linewidth=0.7)
                axes.set_title(f"{METHODS[method]}, tasks {suite}", loc="left", fontweight="bold")
                axes.set_xlabel("unlearning epochs")
                axes.grid()
            row[0].set_ylabel("influence (nats per token)")
        handles = [Line2D([], [], label=name, **look(i)) for i, name in enumerate(TASKS.values())]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        save(place, figure)
    ends = table[table["epochs"] == table.groupby(["tasks", "method"])["epochs"].transform("max")]
    means = ends.groupby(["tasks", "method", "corpus"])["influence"].mean().unstack("corpus")
    shown = means[list(TASKS)].rename(columns=TASKS).map(lambda x: f"{x:+.3f}".replace("-", "−"))
    shown.index = pd.Index([f"{METHODS[m]}, tasks {t}" for t, m in means.index], name="at the end")
    runs = varied(place, "tasks_a", "tasks_b")
    return f"Influence after the last step, nats per token, mean over {runs}:\n\n{markdown(shown)}"


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
