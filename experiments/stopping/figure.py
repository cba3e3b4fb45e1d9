"""Agreement with the truth against the rise of the forget-set loss, by objective.

python -m experiments.stopping.figure outputs/stopping/mini [outputs/stopping_docstrings/mini]

Reads the results of the sweeps, writes `figures/stopping.png` to each and prints its numbers. Then
prints UnTrac's lowest correlation over all test sets, for each objective and each rise of the grid
from which `untrac_calibrated` was chosen.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from untrac_exp.report.result_files import OWN_LOSS, TRAJECTORY, TRUTH, read_metrics, read_table
from untrac_exp.statistics.agreement import agreement, truth_mean


def curves(directory: Path) -> pd.DataFrame:
    """One row a job, step and test set.

    Columns method, variant, seed, testset, step, own_loss_rise (nats per token, mean over the
    unlearned datasets), pearson, spearman.
    """
    rows = []
    for metrics in sorted(directory.glob("**/metrics.json")):
        job = read_metrics(metrics.parent)
        trajectory = read_table(metrics.parent / "trajectory.csv", TRAJECTORY)
        own = read_table(metrics.parent / "own_loss.csv", OWN_LOSS)
        truth = read_table(metrics.parent / "truth.csv", TRUTH)
        if trajectory is None or own is None or truth is None:
            continue
        mean = truth_mean(truth)
        start = own[own["step"] == 0].set_index("unlearned")["loss"]
        rise = own.assign(rise=own["loss"] - own["unlearned"].map(start)).groupby("step")["rise"]
        for step, scores in trajectory.groupby("step"):
            for testset, values in agreement(scores, mean).items():
                rows.append(
                    {
                        "method": job["method"],
                        "variant": job.get("variant") or "",
                        "seed": job["seed"],
                        "testset": testset,
                        "step": step,
                        "own_loss_rise": rise.mean()[step],
                        "pearson": values["pearson"],
                        "spearman": values["spearman"],
                    }
                )
    if not rows:
        raise SystemExit(f"error: {directory}: no finished unlearning job with a truth; run it")
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, path: Path) -> None:
    """A panel for each method and test set, a line for each objective."""
    methods, testsets = table["method"].unique(), table["testset"].unique()
    figure, axes = plt.subplots(
        len(methods),
        len(testsets),
        figsize=(4 * len(testsets), 3 * len(methods)),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for row, method in zip(axes, methods, strict=True):
        for axis, testset in zip(row, testsets, strict=True):
            chosen = table[(table["method"] == method) & (table["testset"] == testset)]
            for variant, lines in chosen.groupby("variant"):
                line = lines.groupby("step")[["own_loss_rise", "pearson"]].mean()
                name = variant.removeprefix("objective=")
                axis.plot(line["own_loss_rise"], line["pearson"], marker="o", ms=3, label=name)
            axis.set(title=f"{method}, {testset}", xscale="symlog")
    figure.supxlabel("rise of the forget-set loss (nats per token)")
    figure.supylabel("Pearson correlation with the truth")
    axes[0, 0].legend()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


GRID = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Rises of the forget-set loss, in nats per token."""


def lowest(table: pd.DataFrame) -> pd.DataFrame:
    """UnTrac's lowest Pearson correlation of all test sets, by objective (rows) and rise (columns).

    Read off the line between the steps at which the tests were read, up to the first step after
    which the rise is passed; NaN where a test set's line does not reach the rise.
    """
    found: dict[str, list[float]] = {}
    for variant, lines in table[table["method"] == "untrac"].groupby("variant"):
        readings = []
        for _, line in lines.groupby("testset"):
            line = line.sort_values("step")
            rise, pearson = line["own_loss_rise"].to_numpy(), line["pearson"].to_numpy()
            highest = np.maximum.accumulate(rise)
            readings.append(np.interp(GRID, highest, pearson, right=np.nan))
        found[str(variant).removeprefix("objective=")] = list(np.min(readings, 0))
    return pd.DataFrame.from_dict(found, orient="index", columns=list(GRID))


def main(arguments: list[str]) -> None:
    """Draw and print each sweep named."""
    if not arguments:
        raise SystemExit(__doc__)
    tables = []
    for argument in arguments:
        table = curves(Path(argument))
        draw(table, Path(argument) / "figures" / "stopping.png")
        table.to_csv(sys.stdout, index=False, float_format="%.4f")
        tables.append(table)
    print(lowest(pd.concat(tables)).to_string(float_format="%.3f"))


if __name__ == "__main__":
    main(sys.argv[1:])
