"""Tables in the paper's layout from the summaries of sweeps: CSV, Markdown and LaTeX."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd

from experiments.published import Place, cost, varied
from untrac_exp.report.result_files import write_text

METHODS = {
    "graddot": "GradDot",
    "gradcos": "GradCos",
    "hif_arnoldi": "HIF (Arnoldi)",
    "hif_lissa": "HIF (LiSSA)",
    "tracin": "TracIn",
    "untrac": "UnTrac",
    "untrac_inv": "UnTrac-Inv",
}
"""The paper's methods in its order -> their names in the paper."""
TESTSETS = {"toxicity": "toxigen", "bias": "winobias", "truthfulness": "truthfulqa"}
"""Our test sets -> the paper's."""
NAMES = {
    **METHODS,
    **{"leave_dataset_out": "Leave-dataset-out", "sgd_momentum": "SGD with momentum"},
    **{"toxigen": "ToxiGen", "winobias": "WinoBias", "truthfulqa": "TruthfulQA"},
    **{"sgd": "SGD", "rmsprop": "RMSProp", "adam": "Adam", "adafactor": "Adafactor"},
}
"""Names in our files -> names in the paper."""


def correlations(
    place: Place, experiments: Mapping[str, str], key: str, statistic: str
) -> pd.DataFrame:
    """Return the agreement of the paper's methods by experiment, method and test set.

    Args:
        place: of the experiment.
        experiments: value of the column `key` -> experiment.
        key: name of the first column.
        statistic: pearson or spearman.

    Returns:
        Columns key, method, testset, <statistic>_mean, <statistic>_std, ceiling, attainable;
        rows as in the paper.
    """
    rows = []
    for value, experiment in experiments.items():
        for method in METHODS:
            table = place.cell(experiment, method)
            for ours, theirs in TESTSETS.items():
                row = {key: value, "method": method, "testset": theirs}
                for name in (f"{statistic}_mean", f"{statistic}_std", "ceiling", "attainable"):
                    row[name] = table[name].get(ours, math.nan)
                rows.append(row)
    frame = pd.DataFrame(rows)
    order = {method: i for i, method in enumerate(METHODS)}
    return frame.sort_values("method", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def correlation_table(place: Place, statistic: str) -> str:
    """Publish table 3 or 5: methods by test sets, for corpora of equal and unequal sizes."""
    sizes = {"equal": "harms", "unequal": "harms_unequal"}
    ours, published = correlations(place, sizes, "sizes", statistic), place.published()
    mean, std = f"{statistic}_mean", f"{statistic}_std"
    shown = []
    for table in (published, ours):
        cells = [plus_minus(m, s) for m, s in zip(table[mean], table[std], strict=True)]
        laid_out = (
            table.assign(cell=cells, method=table["method"].map(METHODS))
            .pivot(index="method", columns=["sizes", "testset"], values="cell")
            .reindex(index=list(METHODS.values()))
        )
        columns = pd.MultiIndex.from_product([sizes, TESTSETS.values()])
        shown.append(laid_out.reindex(columns=columns).rename_axis(index="method"))
    truths = ours.drop_duplicates(["sizes", "testset"]).set_index(["sizes", "testset"])
    if statistic == "pearson":
        for name, column in (("attainable ceiling", "attainable"), ("noise ceiling", "ceiling")):
            shown[1].loc[name] = [plus_minus(truths[column][at]) for at in shown[1].columns]
    caption = (
        f"{statistic.title()} correlation with leave-dataset-out, mean ± standard deviation over "
        f"{varied(place, *sizes.values())}, {place.scale} scale."
    )
    shown = [table.rename(columns=NAMES) for table in shown]
    write_table(place, ours.drop(columns=["ceiling", "attainable"]), shown[1], caption)
    between = differences(published, ours, ["sizes", "testset"], "method", mean)
    theirs, laid_out = shown
    return f"{side_by_side(place, theirs, laid_out, between)}\n\n{cost(place, *sizes.values())}"


def side_by_side(place: Place, theirs: pd.DataFrame, ours: pd.DataFrame, between: str) -> str:
    """Format the published table, ours and their differences as Markdown."""
    return (
        f"Published:\n\n{markdown(theirs)}\n\nOurs, {place.scale} scale:\n\n{markdown(ours)}\n\n"
        f"Order and sign:\n\n{between}"
    )


def plus_minus(mean: float, std: float = float("nan"), digits: int = 3) -> str:
    """Format `0.419 ± 0.063`; a dash for an undefined mean, no ± for an undefined std."""
    if math.isnan(mean):
        return "–"
    spread = "" if math.isnan(std) else f" ± {std:.{digits}f}"
    return f"{mean:.{digits}f}{spread}".replace("-", "−")


def write_table(place: Place, table: pd.DataFrame, laid_out: pd.DataFrame, caption: str) -> None:
    """Write the numbers as CSV, and the paper's layout as Markdown and LaTeX."""
    write_text(place.target.with_suffix(".csv"), table.to_csv(index=False, lineterminator="\n"))
    write_text(place.target.with_suffix(".md"), f"{caption}\n\n{markdown(laid_out)}\n")
    write_text(place.target.with_suffix(".tex"), latex(laid_out, caption))


def markdown(table: pd.DataFrame) -> str:
    """Format a pipe table of index and columns; column levels are joined by a space."""
    flat = isinstance(table.columns, pd.MultiIndex)
    heads = [" ".join(column) if flat else str(column) for column in table.columns]
    lines = [[str(table.index.name or ""), *heads], ["---"] * (len(heads) + 1)]
    lines += [[str(index), *map(str, row)] for index, row in zip(
        table.index, table.to_numpy(dtype=object), strict=True)]  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def latex(table: pd.DataFrame, caption: str) -> str:
    """Format a booktabs table with minus and ± in math mode."""
    text = table.rename_axis(index=None).to_latex(
        escape=True, caption=caption, multicolumn_format="c", position="t"
    )
    return text.replace("−", "$-$").replace("±", "$\\pm$").replace("–", "--")


def differences(
    published: pd.DataFrame, ours: pd.DataFrame, within: Sequence[str], item: str, value: str
) -> str:
    """List in Markdown where our numbers and the published ones differ in sign or order.

    Args:
        published: columns `within`, `item` and `value`.
        ours: the same columns and rows.
        within: columns that define the groups compared.
        item: column of the items that are ordered.
        value: column of the numbers.

    Raises:
        ValueError: the rows differ.
    """
    keys = [*within, item]
    both = published.merge(ours, on=keys, suffixes=("_theirs", "_ours"))
    if not len(both) == len(published) == len(ours):
        raise ValueError(f"our rows and the published ones differ in {', '.join(keys)}")
    theirs_name, ours_name = f"{value}_theirs", f"{value}_ours"
    lines = []
    for where, group in both.groupby(list(within), sort=False):
        name = ", ".join(NAMES.get(str(part), str(part)) for part in where)
        group = group.assign(**{item: [NAMES.get(str(i), str(i)) for i in group[item]]})
        signs = group[group[theirs_name] * group[ours_name] < 0]
        inverted, pairs = 0, 0
        rows = list(zip(group[theirs_name], group[ours_name], strict=True))
        for (a, b), (c, d) in combinations(rows, 2):
            pairs += 1
            inverted += (a - c) * (b - d) < 0
        by_item = group.set_index(item)
        first = [str(by_item[name].idxmax()) for name in (theirs_name, ours_name)]
        says = [f"{inverted} of {pairs} pairs in the other order"]
        says.append(
            f"first in both is {first[0]}" if first[0] == first[1]
            else f"first is {first[0]} in the paper, {first[1]} here"
        )  # fmt: skip
        if len(signs):
            says.append("other sign for " + ", ".join(map(str, signs[item])))
        lines.append(f"- {name}: {'; '.join(says)}.")
    return "\n".join(lines)
