"""Figure 4: the truth by retraining for as many epochs, or for as many steps, as θ0.

    make figure4
    python -m experiments.figure4.figure [--scale mini] [--readme]

Reads `truth.csv`, `metrics.json` and `summary.csv` of the sweep `truth_budget`.
"""

import sys

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from experiments.published import Place, cost, run, save
from experiments.tables import METHODS, markdown, plus_minus
from untrac_exp.report.style import INK, figure_style
from untrac_exp.statistics.agreement import truth_mean

BUDGETS = {"epochs": "as many epochs as θ0", "steps": "as many steps as θ0"}
LOOKS = {"epochs": ("#D55E00", "//"), "steps": ("#0072B2", "")}


def truths(place: Place) -> tuple[pd.DataFrame, pd.Series]:
    """The truth of both budgets, and the share of every corpus in the mixture.

    Columns budget, corpus, subset, influence (nats per token, mean over train seeds).
    """
    sweep = place.sweep("truth_budget")
    tables = []
    for budget in BUDGETS:
        truth = sweep.truth[sweep.truth["variant"] == f"budget={budget}"]
        if truth.empty:
            raise ValueError(f"{sweep.directory}: no truth of fixed {budget}; run make figure4")
        tables.append(truth_mean(truth).assign(budget=budget))
    config = sweep.metrics[0]["config"]
    sizes = pd.Series(config["max_sequences"] or config["corpora"]["sizes"], dtype=float)
    return pd.concat(tables, ignore_index=True), sizes / sizes.sum()


def publish(place: Place) -> str:
    """Draw the figure; return what each budget's truth depends on as Markdown."""
    table, shares = truths(place)
    shares = shares.sort_values(kind="stable")
    with figure_style():
        figure = Figure(figsize=(7.2, 3.4))
        grid = figure.subplots(1, 2, squeeze=False, sharey=True)[0]
        for axes, (budget, title) in zip(grid, BUDGETS.items(), strict=True):
            groups = table[table["budget"] == budget].groupby("corpus")["influence"]
            mean, n = groups.mean()[shares.index], groups.count()[shares.index]
            half = groups.sem()[shares.index] * stats.t.ppf(0.975, (n - 1).clip(lower=1))
            colour, hatch = LOOKS[budget]
            axes.barh(range(len(mean)), mean, height=0.66, color=colour, hatch=hatch,
                      edgecolor="white", linewidth=0)  # fmt: skip
            axes.errorbar(mean, range(len(mean)), xerr=half, fmt="none", color=INK, capsize=2.5,
                          linewidth=1)  # fmt: skip
            axes.axvline(0, color=INK, linewidth=0.7)
            axes.set_title(title, loc="left", fontweight="bold")
            axes.set_xlabel("influence (nats per token)")
            axes.grid(axis="x")
            axes.set_axisbelow(True)
        names = [f"{name} ({100 * share:.0f} %)" for name, share in shares.items()]
        grid[0].set_yticks(range(len(names)), names)
        save(place, figure)
    return f"{_numbers(place, table, shares)}\n\n{cost(place, 'truth_budget')}"


def _numbers(place: Place, table: pd.DataFrame, shares: pd.Series) -> str:
    """How far each truth follows the sizes, and how UnTrac and UnTrac-Inv agree with it."""
    summary = place.sweep("truth_budget").summary
    means = table.groupby(["corpus", "budget"])["influence"].mean().unstack().loc[shares.index]
    means = means.assign(difference=means["epochs"] - means["steps"])
    rows = {}
    for budget, title in {**BUDGETS, "difference": "the difference of the two"}.items():
        row = {
            "size and truth, Spearman": plus_minus(shares.corr(means[budget], method="spearman")),
            "size and truth, Pearson": plus_minus(shares.corr(means[budget])),
        }
        for method in ("untrac", "untrac_inv"):
            cell = summary[
                (summary["method"] == method) & (summary["variant"] == f"budget={budget}")
            ]
            for one in cell.to_dict("records"):
                row[f"{METHODS[method]}, Pearson"] = plus_minus(
                    one["pearson_mean"], one["pearson_std"]
                )
        rows[title] = row
    return markdown(pd.DataFrame(rows).T.fillna("").rename_axis(index="retrained for"))


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
