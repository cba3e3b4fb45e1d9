"""Agreement with the truth by unlearning objective: plain, bounded or anchored.

    make objectives
    python -m experiments.objectives.figure [--scale mini] [--readme]

Reads `metrics.json` and `summary.csv` of the sweep `objectives`.
"""

import sys

import pandas as pd

from experiments.published import Place, cost, run, save, varied
from experiments.tables import METHODS, markdown, plus_minus
from untrac_exp.report.drawings import agreement_bars
from untrac_exp.report.style import figure_style

OBJECTIVES = {
    "objective=ascent": "plain ascent",
    "objective=npo": "bounded (NPO)",
    "objective=kl": "anchored (KL)",
}
UNLEARNING = ("untrac", "untrac_inv")


def publish(place: Place) -> str:
    """Draw the figure; return its numbers as Markdown."""
    agreement = place.sweep("objectives").agreement
    parts, rows = [], {}
    for method in UNLEARNING:
        for variant, name in OBJECTIVES.items():
            label = f"{METHODS[method]}, {name}"
            cell = place.cell("objectives", method, variant)
            chosen = (agreement["method"] == method) & (agreement["variant"] == variant)
            parts.append(agreement[chosen].assign(label=label))
            rows[label] = {
                row["testset"]: plus_minus(row["pearson_mean"], row["pearson_std"], 2)
                for row in cell.to_dict("records")
            } | {"seconds": f"{cell['wall_s'].iloc[0]:.1f}"}
    with figure_style():
        save(place, agreement_bars(pd.concat(parts, ignore_index=True)))
    text = markdown(pd.DataFrame(rows).T.rename_axis(index="unlearning"))
    return (
        f"Pearson, mean ± standard deviation over {varied(place, 'objectives')}:\n\n{text}\n\n"
        f"{cost(place, 'objectives')}"
    )


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
