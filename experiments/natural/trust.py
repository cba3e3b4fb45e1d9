"""How often "corpus A before corpus B, told apart" is what retraining says, on natural text.

    python experiments/natural/trust.py [--experiment natural] [--readme]

Reads the parts of the methods from the store of the sweep, where they are. A claim is made where
the paired interval of two corpora's influences excludes 0; it is right where the mean of the
truths has the same sign. The last line claims what every method claims.
"""

import argparse
from functools import reduce
from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from untrac_exp.config import config_dir
from untrac_exp.cost import Meter
from untrac_exp.experiment import influences
from untrac_exp.inputs import load_data, prepare_process
from untrac_exp.report.evidence import pairs
from untrac_exp.report.published import fill
from untrac_exp.store import Store
from untrac_exp.trust import Trust, checked

CLAIM = ["testset", "subset", "first", "second"]
METHODS = ("ngram", "untrac_step", "untrac_inv", "untrac")


def claims(experiment: str, method: str, train_seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pairs that a method tells apart, and the truth."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        chosen = [f"+experiment={experiment}", "hydra.mode=RUN", f"method={method}"]
        cfg = compose("config", [*chosen, f"train_seed={train_seed}"])
    prepare_process(cfg)
    data = load_data(cfg, Store(cfg.store))
    truth = instantiate(cfg.truth)
    answer = influences(instantiate(cfg.method), cfg, data, Meter())
    found = pairs(answer.changes, answer.missed)
    changes = truth.changes(data.training, data.subsets)
    return found[found["low"] > 0], truth.influences(changes, list(data.training.corpora))


def line(name: str, pairs_in_all: int, trust: Trust) -> str:
    """A row of the table."""
    interval = f"{trust.low:.2f} to {trust.high:.2f}"
    return f"| {name} | {trust.claims} of {pairs_in_all} | {trust.share:.2f} | {interval} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--experiment", default="natural")
    parser.add_argument("--readme", action="store_true", help="write it into trust.md")
    parser.add_argument("--train-seeds", type=int, nargs="*", default=[0, 1])
    arguments = parser.parse_args()
    lines = ["| claimed by | pairs told apart | right | 95 % |", "| --- | --- | --- | --- |"]
    of_method: list[pd.DataFrame] = []
    total = 0
    for method in METHODS:
        parts = []
        for seed in arguments.train_seeds:
            told, truth = claims(arguments.experiment, method, seed)
            parts.append(told.assign(train_seed=seed))
        of_method.append(pd.concat(parts))
        n, questions = truth["corpus"].nunique(), len(truth.groupby(["testset", "subset"]))
        total = len(arguments.train_seeds) * questions * n * (n - 1) // 2
        lines.append(line(f"`{method}`", total, checked(of_method[-1], truth)))
    for name, some in (("`ngram` and `untrac_step`", of_method[:2]), ("all four", of_method)):
        both = reduce(
            lambda a, b: a.merge(b[[*CLAIM, "train_seed"]], on=[*CLAIM, "train_seed"]), some
        )
        lines.append(line(name, total, checked(both, truth)))
    text = "\n".join(lines)
    print(text)
    if arguments.readme:
        fill(Path(__file__).parent / "trust.md", text)


if __name__ == "__main__":
    main()
