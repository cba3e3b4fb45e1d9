"""Agreement with the truth against cost for every method, with the attainable ceiling.

    make cost
    python -m experiments.cost.figure [--scale mini] [--readme]

Reads `summary.csv` and `metrics.json` of the sweep `harms`, and the cost of the truth's models from
the store.
"""

import sys

import pandas as pd

from experiments.published import Place, run, save, truth_cost
from experiments.tables import METHODS, markdown, plus_minus
from untrac_exp.report.drawings import accuracy_against_cost
from untrac_exp.report.style import figure_style

ALL = {
    **METHODS,
    **{"untrac_calibrated": "UnTrac, calibrated", "untrac_step": "UnTrac-Inv in one step"},
    **{"untrac_newton": "UnTrac, Newton step", "hif_frequency": "HIF (frequencies)"},
    **{"hif_ekfac": "HIF (EK-FAC)", "ngram": "n-gram surrogate"},
}
"""The paper's methods, and those beyond it."""


def points(place: Place) -> pd.DataFrame:
    """Columns label, testset, pearson, std, attainable, wall_s, backward_tokens; mean over seeds.

    Rows are in the order of the test sets and, within them, of the paper's methods.
    """
    sweep = place.sweep("harms")
    table = sweep.summary
    table = table[(table["variant"] == "") & table["method"].isin(ALL)]
    if table.empty:
        raise ValueError(f"{sweep.directory}: none of the methods; run make cost")
    table = table.rename(columns={"pearson_mean": "pearson", "pearson_std": "std"})
    table = table.assign(
        testset=pd.Categorical(table["testset"], sweep.testsets),
        method=pd.Categorical(table["method"], list(ALL)),
        label=table["method"].map(ALL),
    )
    return table.sort_values(["testset", "method"])


def publish(place: Place) -> str:
    """Draw the figure; return its numbers as Markdown."""
    table = points(place)
    truth = truth_cost(place, place.sweep("harms").metrics[0])
    with figure_style():
        save(place, accuracy_against_cost(table, truth or None))
    rows: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        line = rows.setdefault(row["label"], {})
        line[row["testset"]] = plus_minus(row["pearson"], row["std"], 2)
        line["ceiling of " + row["testset"]] = plus_minus(row["attainable"], digits=2)
        line["seconds"] = f"{row['wall_s']:.1f}"
        line["tokens backward"] = f"{row['backward_tokens']:,.0f}"
        if truth:
            line["share of the truth's seconds"] = f"{row['wall_s'] / truth['wall_s']:.1%}"
    shown = pd.DataFrame(rows).T
    ends = [name for name in shown if str(name).startswith(("seconds", "tokens", "share"))]
    shown = shown[[name for name in shown if name not in ends] + ends]
    text = markdown(shown.rename_axis(index="method"))
    if truth:
        text += (
            f"\n\nThe truth's models took {truth['wall_s']:.0f} s of one process and "
            f"{truth['backward_tokens']:,.0f} tokens backward."
        )
    return text


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
