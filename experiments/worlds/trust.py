"""How often retraining confirms the order of two corpora that a method tells apart.

    python -m experiments.worlds.trust development|sealed [--methods ngram ...] [--readme]

A method makes a claim if the interval of the difference of two corpora's influences excludes 0; the
claim is right if the mean of the truths has the same sign. The interval covers the sampling of
examples and is widened by the spread of the influences (`statistics.intervals.order_error`), which
was not chosen by any truth. Results are read from outputs/store where they are.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.typing import NDArray
from scipy import stats

from experiments.published import fill
from experiments.worlds.agreement import LOWEST_CEILING
from untrac_exp.config.schema import config_dir
from untrac_exp.data.sources.worlds import DEVELOPMENT, SEALED
from untrac_exp.job import load, prepare_process, run_method
from untrac_exp.methods.base import Change, Influences, Subset
from untrac_exp.statistics.agreement import ceilings, truth_mean
from untrac_exp.statistics.intervals import order_error
from untrac_exp.statistics.ranking import Sampled, compare, resampled
from untrac_exp.store import Store

METHODS: dict[str, list[str]] = {"ngram": [], "finetune": [], "untrac": [], "untrac_inv": []}
"""Name -> overrides with which it was run."""
QUESTION, PAIR = ["testset", "subset"], ["first", "second"]
CLAIM = [*QUESTION, *PAIR]


class Trust(NamedTuple):
    """Number of claims, number and share of correct ones, and the interval of the share.

    share, low and high are NaN if there is no claim.
    """

    claims: int
    right: int
    share: float
    low: float
    high: float


def check_claims(claims: pd.DataFrame, truth: pd.DataFrame, level: float = 0.95) -> Trust:
    """Count the claims that agree with the truth.

    The interval is Clopper and Pearson's. Claims are dependent, so it uses an effective number of
    claims: for each subset, the number of corpora in its claims minus one, and at most the number
    of distinct pairs.

    Args:
        claims: columns testset, subset, first, second. A row says that corpus `first` has more
            influence on the subset than `second`. Rows may repeat.
        truth: columns train_seed, corpus, testset, subset, influence. A claim is correct if the
            difference of the means over train seeds is positive.
        level: confidence level.

    Raises:
        ValueError: the truth lacks a corpus and subset of a claim.
    """
    means = truth_mean(truth).set_index([*QUESTION, "corpus"])["influence"]
    lead = _of(claims, "first", means) - _of(claims, "second", means)
    n, right = len(claims), int((lead > 0).sum())
    if n == 0:
        return Trust(0, 0, np.nan, np.nan, np.nan)
    independent = 0
    for _, rows in claims.groupby(QUESTION):
        compared = {frozenset(pair) for pair in rows[PAIR].itertuples(index=False)}
        independent += min(len(compared), len(frozenset().union(*compared)) - 1)
    tail, share = (1 - level) / 2, right / n
    hits, misses = share * independent, (1 - share) * independent
    low = stats.beta.ppf(tail, hits, misses + 1) if right else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, misses) if right < n else 1.0
    return Trust(n, right, share, float(low), float(high))


def _of(claims: pd.DataFrame, corpus: str, means: pd.Series) -> NDArray[np.float64]:
    """Return the mean truth of the corpus in this column, for every claim."""
    index = pd.MultiIndex.from_frame(claims[[*QUESTION, corpus]], names=means.index.names)
    found = means.reindex(index)
    if found.isna().any():
        missing = found.index[found.isna()][0]
        raise ValueError(f"the truth has no influence of {', '.join(map(str, missing[::-1]))}")
    return found.to_numpy()


def result(world: int, method: str, train_seed: int) -> tuple[Influences, pd.DataFrame]:
    """Return a method's influences and the truth, both from the store where they are."""
    overrides = [
        "+experiment=worlds", "hydra.mode=RUN", f"corpora.world={world}", f"method={method}",
        f"train_seed={train_seed}", *METHODS[method],
    ]  # fmt: skip
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("config", overrides)
    prepare_process(cfg.threads)
    data = load(cfg, Store(cfg.store))
    truth = instantiate(cfg.truth)
    [attributed] = run_method(instantiate(cfg.method), cfg, data)
    changes = truth.changes(data.training, data.subsets)
    return attributed.influences, truth.influences(changes, list(data.training.corpora))


def pairs(changes: Sequence[Change], widened: bool = True) -> pd.DataFrame:
    """Compare every two corpora on every subset, as `rank` compares neighbours.

    Args:
        changes: per-example losses before and after unlearning.
        widened: by `order_error`.

    Returns:
        Columns testset, subset, first, second, difference, low, high, in nats per token. first has
        the larger influence, so difference >= 0. A row with low > 0 is a claim.
    """
    rows = []
    of_subset: dict[Subset, list[Sampled]] = {}
    for change, sampled in resampled(changes):
        of_subset.setdefault(change.subset, []).append(sampled)
    for subset, corpora in of_subset.items():
        extra = order_error(corpus.influence for corpus in corpora) if widened else 0.0
        for a, b in combinations(sorted(corpora, key=lambda corpus: -corpus.influence), 2):
            rows.append((*subset, a.corpus, b.corpus, *compare(a, b, extra)))
    return pd.DataFrame(rows, columns=[*CLAIM, "difference", "low", "high"])


def table(worlds: Sequence[int], methods: list[str], train_seeds: list[int]) -> str:
    """Return a row for each method: the claims that are right, with and without the widening."""
    lines = [
        "| method | pairs | told apart | right | 95 % | without widening |",
        "| --- " * 6 + "|",
    ]
    for method in methods:
        compared, truths = [], []
        for world in worlds:
            for seed in train_seeds:
                influences, truth = result(world, method, seed)
                best = ceilings(truth, lambda _: None)["attainable"]
                usable = [name for name, value in best.items() if (value or 0) >= LOWEST_CEILING]
                for widened in (True, False):
                    rows = pairs(influences.changes, widened)
                    rows = rows[rows["testset"].isin(usable)].assign(widened=widened)
                    rows["testset"] = f"{world}/" + rows["testset"]
                    compared.append(rows)
            truths.append(truth.assign(testset=f"{world}/" + truth["testset"]))
        rows, truth = pd.concat(compared), pd.concat(truths)
        told = rows[rows["low"] > 0]
        ours, bare = (
            check_claims(told.loc[told["widened"] == widened, CLAIM], truth)
            for widened in (True, False)
        )
        interval = f"{ours.low:.2f} to {ours.high:.2f}" if ours.claims else "–"
        lines.append(
            f"| `{method}` | {len(rows) // 2} | {ours.claims} | {ours.share:.2f} | {interval} | "
            f"{bare.share:.2f} of {bare.claims} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("worlds", choices=["development", "sealed"])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--train-seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--readme", action="store_true", help="write it into README.md")
    given = parser.parse_args()
    worlds = DEVELOPMENT if given.worlds == "development" else SEALED
    text = table(worlds, given.methods, given.train_seeds)
    print(text)
    if given.readme:
        fill(Path(__file__).with_name("README.md"), text, f"trust_{given.worlds}")


if __name__ == "__main__":
    main()
