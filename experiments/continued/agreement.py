"""The table of `+experiment=continued`: collect the finished jobs, then print it.

    python -m experiments.continued.agreement --collect outputs/continued/mini
    python -m experiments.continued.agreement [--readme]

`cells.csv` beside this file has a row for each method, train seed and test set. Rows that the
folder lacks are kept, so that methods can be run one by one, also on some of the test sets. With
``--readme`` the table goes into the README here.
"""

import argparse
from pathlib import Path

import pandas as pd

from experiments.published import fill
from experiments.tables import markdown, plus_minus
from experiments.worlds.agreement import ID, LOWEST_CEILING, cells, with_shares

HOME = Path(__file__).parent
CELLS = HOME / "cells.csv"


def publish(table: pd.DataFrame) -> str:
    """Return the table as Markdown: the ceilings first, then the methods, best first.

    Args:
        table: columns of `experiments.worlds.agreement.cells`.
    """
    noise = table.groupby("testset")["attainable"].first()
    testsets = sorted(noise.index)
    usable = table[table["attainable"] >= LOWEST_CEILING]
    shares = with_shares(table).groupby(["method", "testset"])["share"].mean().unstack()
    of_usable = with_shares(usable).groupby("method")[["share", "partial"]].mean()
    runs = table.drop_duplicates(["method", "train_seed"]).groupby("method")
    rows = {"attainable ceiling": {name: plus_minus(noise[name], digits=2) for name in testsets}}
    for method in of_usable["share"].sort_values(ascending=False).index:
        row = {name: plus_minus(shares.loc[method, name], digits=2) for name in testsets}
        row["mean"] = plus_minus(of_usable.loc[method, "share"], digits=2)
        row["given `ngram`"] = plus_minus(of_usable.loc[method, "partial"], digits=2)
        row["train seeds"] = ", ".join(map(str, runs.get_group(method)["train_seed"]))
        row["seconds"] = f"{runs['wall_s'].mean()[method]:,.0f}"
        rows[f"`{method}`"] = row
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("agreement ÷ attainable")
    left = f"mean over the test sets with an attainable ceiling of at least {LOWEST_CEILING}"
    return f"{markdown(frame.fillna(''))}\n\n{left}: {', '.join(sorted(set(usable['testset'])))}."


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.continued.agreement")
    parser.add_argument("--collect", type=Path, help="folder of finished jobs")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    given = parser.parse_args()
    if given.collect is not None:
        both = pd.concat([cells(given.collect).round(4), pd.read_csv(CELLS)])
        both.drop_duplicates(ID).sort_values(ID).to_csv(CELLS, index=False)
    text = publish(pd.read_csv(CELLS))
    if given.readme:
        fill(HOME / "README.md", text, "numbers")
    print(text)


if __name__ == "__main__":
    main()
