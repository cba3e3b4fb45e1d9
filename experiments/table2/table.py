"""Table 2: standardised influence of four fine-tuning tasks on a test task, two suites of tasks.

    make table2
    python -m experiments.table2.table [--scale mini] [--readme]

Reads `scores.csv` and `truth.csv` of the sweeps `tasks_a` and `tasks_b`.
"""

import sys

import pandas as pd

from experiments.published import Place, cost, run
from experiments.tables import METHODS, differences, plus_minus, side_by_side, write_table

TASKS = {"sim_same": "SimSame", "sim_diff": "SimDiff", "dis_same": "DisSame", "dis_diff": "DisDiff"}
ROWS = {**METHODS, "leave_dataset_out": "Leave-dataset-out"}


def standardised(influence: pd.Series) -> pd.Series:
    """(x − mean) / std over the four corpora, the std with ddof 0.

    The published rows have squares that add up to four, so the mean over the four runs is what the
    paper standardises.
    """
    return (influence - influence.mean()) / influence.std(ddof=0)


def ours(place: Place) -> pd.DataFrame:
    """Columns tasks, method and the four corpora, rows as in `published.csv`."""
    rows = []
    for suite in ("A", "B"):
        sweep = place.sweep(f"tasks_{suite.lower()}")
        plain = sweep.scores[sweep.scores["variant"] == ""]
        influence = {str(method): part for method, part in plain.groupby("method")}
        influence["leave_dataset_out"] = sweep.truth[sweep.truth["variant"] == ""]
        for method in ROWS:
            if method not in influence or influence[method].empty:
                raise ValueError(f"{sweep.directory}: no {method}; run make table2")
            means = influence[method].groupby("corpus")["influence"].mean()
            row = standardised(means)[list(TASKS)].rename(TASKS).to_dict()
            rows.append({"tasks": suite, "method": method, **row})
    return pd.DataFrame(rows)


def laid_out(table: pd.DataFrame) -> pd.DataFrame:
    """Rows are methods; columns are suites and corpora."""
    wide = table.pivot(index="method", columns="tasks", values=list(TASKS.values()))
    wide = wide.swaplevel(axis=1).reindex(
        index=list(ROWS), columns=pd.MultiIndex.from_product([("A", "B"), TASKS.values()])
    )
    cells = wide.map(plus_minus)
    return cells.rename(index=ROWS).rename_axis(index="method")


def publish(place: Place) -> str:
    """Write the table; return it as Markdown next to the published one."""
    numbers, published = ours(place), place.published()
    caption = (
        "Influence of the training tasks on the test task, standardised over the four tasks, "
        f"mean of four samples, {place.scale} scale."
    )
    write_table(place, numbers, laid_out(numbers), caption)
    keys = ["tasks", "method"]
    theirs, long = (
        table.melt(keys, var_name="corpus", value_name="influence")
        for table in (published, numbers)
    )
    between = differences(theirs, long, keys, "corpus", "influence")
    tables = side_by_side(place, laid_out(published), laid_out(numbers), between)
    return f"{tables}\n\n{cost(place, 'tasks_a', 'tasks_b')}"


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
