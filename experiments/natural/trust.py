"""How often retraining confirms the order of two corpora that a method tells apart.

    python -m experiments.natural.trust [--texts natural ...] [--methods ngram ...] [--readme]

A method makes a claim if the interval of the difference of two corpora's influences excludes 0; the
claim is right if the mean of the truths has the same sign. The interval covers the sampling of
examples and is widened by the method's other errors, `Method.relative_error`, in units of the
spread of its influences. The columns are values of it. A method's own value was chosen
as the smallest at which nine claims in ten are right on each of `CHOSEN_ON`; other text was unused.
For a held-out test set, the corpus it was held out of is excluded.
"""

import argparse
from collections.abc import Sequence
from functools import reduce
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
from untrac_exp.config.schema import config_dir
from untrac_exp.job import load, prepare_process, run_method
from untrac_exp.methods.base import Change, Influences, Subset
from untrac_exp.statistics.agreement import truth_mean
from untrac_exp.statistics.intervals import spread
from untrac_exp.statistics.ranking import Sampled, compare, resampled
from untrac_exp.store import Store

HELD_OUT = "testset.names=[held_out]"
CHOSEN_ON = {
    "tuning": ["+experiment=tuning"],
    "tuning, held out": ["+experiment=tuning", HELD_OUT],
    "natural, held out": ["+experiment=natural", HELD_OUT],
}
TEXTS = {
    **CHOSEN_ON,
    "natural": ["+experiment=natural"],
    "natural, subsets": ["+experiment=natural_subsets"],
    "docstrings": ["+experiment=docstrings"],
    "docstrings, subsets": ["+experiment=docstrings", "truth=random_subsets"],
}
"""Name -> overrides. Those beyond `CHOSEN_ON` are for checking."""
METHODS = ("ngram", "untrac_newton", "untrac_step")
GRID = (0.0, 0.3, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5)
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


def asked(overrides: list[str], method: str, train_seed: int) -> tuple[Influences, pd.DataFrame]:
    """What a method answers, and the truth; both from the store where they are."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose(
            "config",
            [*overrides, "hydra.mode=RUN", f"method={method}", f"train_seed={train_seed}"],
        )
    prepare_process(cfg.threads)
    data = load(cfg, Store(cfg.store))
    truth = instantiate(cfg.truth)
    [attributed] = run_method(instantiate(cfg.method), cfg, data)
    answer = attributed.influences
    changes = truth.changes(data.training, data.subsets)
    return answer, truth.influences(changes, list(data.training.corpora))


def pairs(changes: Sequence[Change], relative_error: float = 0.0) -> pd.DataFrame:
    """Compare every two corpora on every subset, as `rank` compares neighbours.

    Args:
        changes: per-example losses before and after unlearning.
        relative_error: as in `Method.relative_error`.

    Returns:
        Columns testset, subset, first, second, difference, low, high, in nats per token. first has
        the larger influence, so difference >= 0. A row with low > 0 is a claim.
    """
    rows = []
    of_subset: dict[Subset, list[Sampled]] = {}
    for change, sampled in resampled(changes):
        of_subset.setdefault(change.subset, []).append(sampled)
    for subset, corpora in of_subset.items():
        extra = relative_error * spread(corpus.influence for corpus in corpora)
        for a, b in combinations(sorted(corpora, key=lambda corpus: -corpus.influence), 2):
            rows.append((*subset, a.corpus, b.corpus, *compare(a, b, extra)))
    return pd.DataFrame(rows, columns=[*CLAIM, "difference", "low", "high"])


def claims(answer: Influences, error: float, held_out: bool) -> pd.DataFrame:
    """The pairs that an answer tells apart; held_out: without a subset's own corpus."""
    changes = [
        change for change in answer.changes if not (held_out and change.corpus == change.subset[1])
    ]
    found = pairs(changes, error)
    return found.loc[found["low"] > 0, CLAIM]


def shown(trust: Trust) -> str:
    """The share that is right, and how many were claimed."""
    return f"{trust.share:.2f} ({trust.claims})" if trust.claims else "– (0)"


def table(texts: list[str], methods: list[str], train_seeds: list[int]) -> str:
    """A row for each text and method, and for what all the methods claim; a column a value."""
    heads = ["text", "claimed by", *map(str, GRID), "its own"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for text in texts:
        held_out = HELD_OUT in TEXTS[text]
        answers = {
            method: [asked(TEXTS[text], method, seed) for seed in train_seeds] for method in methods
        }

        def told(
            method: str,
            error: float | None,
            answers: dict[str, list[tuple[Influences, pd.DataFrame]]] = answers,
            held_out: bool = held_out,
        ) -> pd.DataFrame:
            """error: None takes the method's own."""
            return pd.concat(
                claims(answer, answer.relative_error if error is None else error, held_out).assign(
                    run=run
                )
                for run, (answer, _) in enumerate(answers[method])
            )

        truth = answers[methods[0]][0][1]
        for method in methods:
            cells = [shown(check_claims(told(method, error), truth)) for error in (*GRID, None)]
            lines.append(f"| {text} | `{method}` | {' | '.join(cells)} |")
        if len(methods) > 1:
            cells = []
            for error in (*GRID, None):
                of_each = [told(method, error) for method in methods]
                both = reduce(lambda a, b: a.merge(b, on=[*CLAIM, "run"]), of_each)
                cells.append(shown(check_claims(both, truth)))
            lines.append(f"| {text} | each of them | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--texts", nargs="*", choices=TEXTS, default=list(TEXTS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--train-seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--readme", action="store_true", help="write it into trust.md")
    given = parser.parse_args()
    text = table(given.texts, given.methods, given.train_seeds)
    print(text)
    if given.readme:
        fill(Path(__file__).parent / "trust.md", text)


if __name__ == "__main__":
    main()
