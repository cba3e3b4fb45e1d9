"""Agreement with the truth by unlearning objective: plain, bounded or anchored.

    make objectives
    python -m experiments.objectives.figure [--scale mini] [--readme]

Reads `metrics.json` and `summary.csv` of the sweep `objectives`.
"""

import sys

import pandas as pd

from experiments.published import Place, cost, run, save, varied
from experiments.tables import METHODS, markdown, plus_minus
from untrac_exp.report.collect import collect
from untrac_exp.report.drawings import agreement_bars
from untrac_exp.report.style import figure_style

OBJECTIVES = {
    "objective=ascent": "plain ascent",
    "objective=npo": "bounded (NPO)",
    "objective=kl": "anchored (KL)",
    "objective=fisher": "anchored (Fisher)",
}
UNLEARNING = ("untrac", "untrac_inv")


def publish(place: Place) -> str:
    """Draw the figure; return its numbers as Markdown."""
    sweep = collect(place.sweep("objectives"))
    wanted = [(method, variant) for method in UNLEARNING for variant in OBJECTIVES]
    parts, rows = [], {}
    summary = place.summary("objectives")
    for method, variant in wanted:
        label = f"{METHODS[method]}, {OBJECTIVES[variant]}"
        table = sweep.agreement
        table = table[(table["method"] == method) & (table["variant"] == variant)]
        if table.empty:
            raise ValueError(
                f"{sweep.directory}: no {method} with {variant}; run python -m untrac_exp "
                f"+experiment=objectives scale={place.scale} method={method} {variant}"
            )
        parts.append(table.assign(label=label))
        lines = summary[(summary["method"] == method) & (summary["variant"] == variant)]
        rows[label] = {
            row["testset"]: plus_minus(row["pearson_mean"], row["pearson_std"], 2)
            for row in lines.to_dict("records")
        } | {"seconds": f"{lines['wall_s'].iloc[0]:.1f}"}
    with figure_style():
        save(place, agreement_bars(pd.concat(parts, ignore_index=True)))
    text = markdown(pd.DataFrame(rows).T.rename_axis(index="unlearning"))
    return (
        f"Pearson, mean ± standard deviation over {varied(place, 'objectives')}:\n\n{text}\n\n"
        f"{cost(place, 'objectives')}"
    )


if __name__ == "__main__":
    sys.exit(run(__file__, publish))
