"""Table 4: Pearson on toxicity by optimizer and by learning rate of the unlearning.

    make table4
    python -m experiments.table4.table [--scale mini] [--readme]

Reads `summary.csv` of the sweeps `sensitivity_optimizer` and `sensitivity_lr`.
"""

import sys

import pandas as pd

from experiments.published import Place, cost, run
from experiments.tables import METHODS, NAMES, differences, plus_minus, side_by_side, write_table

KEYS = {"optimizer": "optimizer", "lr": "optimizer.lr"}
"""What is swept: by its last part in `summary.csv`."""
UNLEARNING = ("untrac", "untrac_inv")


def ours(place: Place) -> pd.DataFrame:
    """Columns and rows as in `published.csv`."""
    published = place.published()
    rows = []
    for factor, key in KEYS.items():
        experiment = f"sensitivity_{factor}"
        table = place.summary(experiment)
        table = table[table["testset"] == "toxicity"].set_index(["method", "variant"])
        for value in published.loc[published["factor"] == factor, "value"].unique():
            for method in UNLEARNING:
                cell = (method, f"{factor}={_swept(value)}")
                if cell not in table.index:
                    raise ValueError(
                        f"{place.sweep(experiment)}: no {method} with {key}={value}; run python -m "
                        f"untrac_exp +experiment={experiment} scale={place.scale} {key}={value}"
                    )
                numbers = table.loc[cell, ["pearson_mean", "pearson_std"]].to_dict()
                rows.append({"factor": factor, "value": value, "method": method, **numbers})
    frame = pd.DataFrame(rows)
    keys = ["factor", "value", "method"]
    return published[keys].merge(frame, on=keys)


def _swept(value: str) -> str:
    """A value as Hydra's sweeper writes it: numbers the way Python does, 5e-6 as 5e-06."""
    try:
        return str(float(value))
    except ValueError:
        return value


def laid_out(table: pd.DataFrame) -> pd.DataFrame:
    """Rows are the values of each factor, columns the two methods."""
    cells = [
        plus_minus(mean, std)
        for mean, std in zip(table["pearson_mean"], table["pearson_std"], strict=True)
    ]
    names = table["factor"] + " " + table["value"].map(lambda value: NAMES.get(value, value))
    table = table.assign(cell=cells, setting=names, method=table["method"].map(METHODS))
    wide = table.pivot(index="setting", columns="method", values="cell")
    columns = [METHODS[method] for method in UNLEARNING]
    return wide.reindex(index=names.unique(), columns=columns).rename_axis(columns=None)


def publish(place: Place) -> str:
    """Write the table; return it as Markdown next to the published one."""
    numbers, published = ours(place), place.published()
    caption = (
        "Pearson correlation with leave-dataset-out on toxicity, by the optimizer and the learning "
        f"rate of the unlearning, {place.scale} scale."
    )
    write_table(place, numbers, laid_out(numbers), caption)
    between = differences(published, numbers, ["factor", "method"], "value", "pearson_mean")
    tables = side_by_side(place, laid_out(published), laid_out(numbers), between)
    return f"{tables}\n\n{cost(place, *(f'sensitivity_{factor}' for factor in KEYS))}"


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
