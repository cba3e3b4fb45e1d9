"""What a candidate would do to the loss, against models that were trained with it added.

    python -m experiments.worlds.candidates WORLD ... [--methods ngram ...] [--train-seed 0]
    python -m experiments.worlds.candidates --table [--readme]

Each corpus of a world is held out in turn: the model is the one that was trained without it, the
corpus is read as a candidate, and the truth is the loss without it minus the loss of the model that
was trained with it added, which is the stored truth of leaving it out. The first command trains
what outputs/store lacks and keeps the scores in `candidates.csv` beside this file; the second
prints the table.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from scipy import stats

from experiments.published import fill
from experiments.tables import markdown
from experiments.worlds.agreement import LOWEST_CEILING, QUESTION
from untrac_exp.config.schema import config_dir
from untrac_exp.job import load, make_subject, prepare_process
from untrac_exp.methods.base import Candidate
from untrac_exp.methods.common.candidates import candidate_influences
from untrac_exp.runtime.cost import Meter
from untrac_exp.statistics.agreement import ceilings, truth_mean
from untrac_exp.statistics.intervals import with_intervals
from untrac_exp.store import Store

SCORES = Path(__file__).with_name("candidates.csv")
METHODS = ("ngram", "finetune", "untrac_step", "untrac_inv", "graddot")
ID = ["world", "train_seed", "method", "corpus", *QUESTION]


def scores(world: int, method: str, train_seed: int) -> pd.DataFrame:
    """Return a method's influence of each corpus of a world as a candidate, and its truth.

    Columns `ID`, influence, ci_low, ci_high (nats per token, NaN without losses), truth (mean over
    train seeds) and attainable.
    """
    overrides = [
        "+experiment=worlds", "hydra.mode=RUN", f"corpora.world={world}", f"method={method}",
        f"train_seed={train_seed}",
    ]  # fmt: skip
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("config", overrides)
    prepare_process(cfg.threads)
    inputs = load(cfg, Store(cfg.store))
    names = list(inputs.training.corpora)
    parts = []
    for name in names:
        without = inputs.training.model_spec(train_seed, (name,))
        [*inputs.training.store.get_all(without.artifacts())]  # train it
        subject = make_subject(cfg, inputs, without, Meter())
        candidate = Candidate(subject.corpora[name], subject.trained_on[name])
        others = {of: data for of, data in subject.corpora.items() if of != name}
        held_out = replace(
            subject, corpora=others, candidates={name: candidate},
            trained_on={of: subject.trained_on[of] for of in others},
        )  # fmt: skip
        influences = candidate_influences(instantiate(cfg.method), held_out)
        assert influences is not None
        parts.append(with_intervals(influences))
    truths = instantiate(cfg.truth)
    truth = truths.influences(truths.changes(inputs.training, inputs.subsets), names)
    means = truth_mean(truth).rename(columns={"influence": "truth"})
    table = pd.concat(parts).merge(means, on=["corpus", *QUESTION])
    best = ceilings(truth, lambda _: None)["attainable"]
    return table.assign(
        world=world, train_seed=train_seed, method=method, attainable=table["testset"].map(best)
    )


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each method: agreement over the candidates of a world, and signs."""
    table = table[table["attainable"] >= LOWEST_CEILING]
    rows: dict[str, dict[str, str]] = {}
    for method, of in table.groupby("method"):
        cells = of.groupby(["world", "train_seed", *QUESTION])
        r = cells.apply(
            lambda cell: cell["influence"].corr(cell["truth"]) / cell["attainable"].iloc[0]
        )
        claimed = of[(of["ci_low"] > 0) | (of["ci_high"] < 0)]
        right = int((np.sign(claimed["influence"]) == np.sign(claimed["truth"])).sum())
        interval = stats.binomtest(right, len(claimed)).proportion_ci() if len(claimed) else None
        rows[f"`{method}`"] = {
            "worlds": f"{of['world'].nunique()}",
            "agreement ÷ attainable": f"{r.mean():.2f}",
            "signs claimed": f"{len(claimed)} of {len(of)}",
            "right": f"{right / len(claimed):.2f}" if interval else "–",
            "95 %": f"{interval.low:.2f} to {interval.high:.2f}" if interval else "–",
            "truth positive": f"{(of['truth'] > 0).mean():.2f}",
        }
    order = sorted(rows, key=lambda name: rows[name]["agreement ÷ attainable"], reverse=True)
    return pd.DataFrame.from_dict({name: rows[name] for name in order}, orient="index").rename_axis(
        "method"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Score candidates, or print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("worlds", nargs="*", type=int)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--train-seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    given = parser.parse_args(arguments)
    for world in given.worlds:
        for method in given.methods:
            new = scores(world, method, given.train_seed)
            old = pd.read_csv(SCORES) if SCORES.exists() else new
            kept = pd.concat([old, new]).drop_duplicates(ID, keep="last").sort_values(ID)
            kept.round(6).to_csv(SCORES, index=False)
            print(f"world {world}, {method}: {len(new)} scores")
    if given.table or given.readme:
        text = markdown(summary(pd.read_csv(SCORES)))
        print(text)
        if given.readme:
            fill(Path(__file__).with_name("README.md"), text, "candidates")


if __name__ == "__main__":
    main()
