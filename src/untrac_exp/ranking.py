"""Rankings of corpora from per-example losses, with intervals.

Intervals are 95 % bootstrap intervals over the evaluated examples. UnTrac evaluates the same test
texts after unlearning each corpus, so corpora share their resamples and differences are paired.
UnTrac-Inv evaluates each corpus's own examples, so resamples are independent and a difference is
one of independent means. The intervals of single influences do not cover the choice of unlearned
texts: another sample of the corpus (UnTrac), other test texts (UnTrac-Inv). The intervals of
differences are widened by a further error, given in units of the spread of the influences over
corpora; see `Method.relative_error`. If only part of the sample was read (a time budget), those of
single influences are widened too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from untrac_exp.bootstrap import bootstrap_means, percentile_interval
from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.methods.base import Change, Subset
from untrac_exp.result_files import EXAMPLES, RANKING

TEST, CORPUS = "test set", "corpus"
PAIRS = ["testset", "subset", "first", "second", "difference", "low", "high"]

_TOP = 20
_LONGEST_TEXT = 400
_ENOUGH = 5
"""Corpora from which on the spread of their influences leaves one out."""
FEW = 32
"""Number of test texts below which a warning is given."""


def rank(
    changes: Sequence[Change], relative_error: float = 0.0, partial: bool = False
) -> pd.DataFrame:
    """Rank corpora by their influence on each test set, averaged over its subsets.

    Args:
        changes: per-example losses before and after unlearning.
        relative_error: as in `Method.relative_error`.
        partial: whether only part of the sample was read.

    Returns:
        Columns as in `RANKING`, in nats per token. lead is the difference to the corpus one rank
        below, with its interval, NaN for the last rank. If that interval includes 0, the two
        corpora are not separated.
    """
    means: dict[tuple[str, str], list[float]] = {}
    draws: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for change, resampled in _resampled(changes):
        cell = (change.subset.testset, change.corpus)
        means.setdefault(cell, []).append(_influence(change))
        draws.setdefault(cell, []).append(resampled)
    rows = []
    for testset in dict.fromkeys(testset for testset, _ in means):
        corpora = [corpus for name, corpus in means if name == testset]
        influence = {corpus: float(np.mean(means[testset, corpus])) for corpus in corpora}
        resampled_of = {corpus: np.mean(draws[testset, corpus], axis=0) for corpus in corpora}
        corpora.sort(key=lambda corpus: -influence[corpus])
        extra = relative_error * _spread(influence.values())
        for i, corpus in enumerate(corpora):
            lead = (np.nan, np.nan, np.nan)
            if i + 1 < len(corpora):
                below = corpora[i + 1]
                difference = influence[corpus] - influence[below]
                between = percentile_interval(resampled_of[corpus] - resampled_of[below])
                low, high = widen_interval(difference, *between, extra)
                lead = (difference, float(low), float(high))
            low, high = widen_interval(
                influence[corpus],
                *percentile_interval(resampled_of[corpus]),
                extra if partial else 0.0,
            )
            row = (testset, i + 1, corpus, influence[corpus], float(low), float(high))
            rows.append((*row, *lead))
    return pd.DataFrame(rows, columns=RANKING)


def widen_interval(
    difference: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    extra: ArrayLike,
    level: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add an independent source of error to an interval.

    Each half-width h becomes sqrt(h² + (z · extra)²), where z is the normal quantile of `level`.

    Args:
        difference: point estimate, such as the difference of two corpora's influences.
        low: lower end of its interval at `level`.
        high: upper end.
        extra: standard error of what the interval leaves out, such as the standard deviation over
            seeds, steps or directions. All arrays broadcast; nats per token.
        level: confidence level.

    Returns:
        (low, high).
    """
    middle = np.asarray(difference, np.float64)
    error = stats.norm.ppf((1 + level) / 2) * np.asarray(extra, np.float64)
    return (
        middle - np.hypot(middle - np.asarray(low, np.float64), error),
        middle + np.hypot(np.asarray(high, np.float64) - middle, error),
    )


def widen(scores: pd.DataFrame, relative_error: float) -> pd.DataFrame:
    """Widen the intervals of scores from part of the sample, as `rank` does."""
    cells = scores.groupby(["testset", "subset"], sort=False)["influence"]
    spread = cells.transform(lambda influences: _spread(influences))
    low, high = widen_interval(
        scores["influence"], scores["ci_low"], scores["ci_high"], relative_error * spread
    )
    return scores.assign(ci_low=low, ci_high=high)


def pairs(changes: Sequence[Change], relative_error: float = 0.0) -> pd.DataFrame:
    """Compare every two corpora on every subset, as `rank` compares neighbours.

    Args:
        changes: per-example losses before and after unlearning.
        relative_error: as in `Method.relative_error`.

    Returns:
        Columns testset, subset, first, second, difference, low, high, in nats per token. first has
        the larger influence, so difference >= 0. A row with low > 0 is a claim, which
        `experiments.natural.trust` compares with a truth.
    """
    found = []
    of_subset: dict[Subset, list[tuple[str, float, NDArray[np.float64]]]] = {}
    for change, resampled in _resampled(changes):
        of_subset.setdefault(change.subset, []).append(
            (change.corpus, _influence(change), resampled)
        )
    for subset, corpora in of_subset.items():
        extra = relative_error * _spread(influence for _, influence, _ in corpora)
        for a, b in combinations(sorted(corpora, key=lambda corpus: -corpus[1]), 2):
            low, high = widen_interval(a[1] - b[1], *percentile_interval(a[2] - b[2]), extra)
            found.append((*subset, a[0], b[0], a[1] - b[1], float(low), float(high)))
    return pd.DataFrame(found, columns=PAIRS)


def top_examples(
    changes: Sequence[Change],
    datasets: Mapping[Any, Encoded],
    decode: Callable[[list[int]], str],
) -> pd.DataFrame:
    """Return the examples of each test set whose loss rose most, with the corpus responsible.

    Args:
        changes: per-example losses before and after unlearning.
        datasets: the evaluated examples, by `Change.of`.
        decode: turns token ids into text.

    Returns:
        Columns as in `EXAMPLES`, at most 20 rows per test set, the largest change first. read is
        `TEST` for a text of the test set, evaluated after unlearning the corpus, and `CORPUS` for a
        text of the corpus, evaluated after unlearning the test subset; index is its position there.
        change is in nats per token of the text.
    """
    best: dict[tuple[str, Subset | str, int], tuple[float, Change]] = {}
    for change in changes:
        tokens = np.maximum(1, change.before.tokens.numpy())
        per_token = (change.nll_after - change.before.nll.numpy()) / tokens
        for index in np.argsort(-per_token)[:_TOP].tolist():
            key = (change.subset.testset, change.of, index)
            if key not in best or per_token[index] > best[key][0]:
                best[key] = (float(per_token[index]), change)
    rows = []
    for testset in dict.fromkeys(key[0] for key in best):
        found = [(value, key[2], change) for key, (value, change) in best.items()
                 if key[0] == testset]  # fmt: skip
        found.sort(key=lambda item: -item[0])
        for value, index, change in found[:_TOP]:
            labels = datasets[change.of].labels[index]
            text = decode(labels[labels != IGNORED].tolist()).strip()
            read = TEST if isinstance(change.of, Subset) else CORPUS
            rows.append((*change.subset, change.corpus, read, index, value, text[:_LONGEST_TEXT]))
    table = pd.DataFrame(
        rows, columns=["testset", "subset", "corpus", "read", "index", "change", "text"]
    )
    return table[EXAMPLES]


def weaknesses(
    ranking: pd.DataFrame, subsets: Mapping[Subset, Encoded], shared: pd.DataFrame
) -> list[str]:
    """Return warnings about weak rankings, a sentence each.

    ranking: as `rank` returns it. shared: as in duplicates.csv.
    """
    warnings = []
    for testset in ranking["testset"].unique():
        data = [subset for name, subset in subsets.items() if name.testset == testset]
        n = sum(map(len, data))
        if n < FEW:
            warnings.append(
                f"test set '{testset}' has {n} {_texts(n)}: with fewer than {FEW} the ranking may "
                "turn on single ones; add texts"
            )
        rows = ranking[ranking["testset"] == testset]
        first = rows.iloc[0]
        if not first["ci_low"] > 0:
            warnings.append(
                f"test set '{testset}': no corpus is shown to have helped, the interval of the "
                f"first ('{first['corpus']}') includes 0"
            )
        elif len(rows) > 2 and not (rows["lead_low"] > 0).any():
            warnings.append(
                f"test set '{testset}': no corpus can be told apart from the next, so the order is "
                "hardly better than chance; read more texts of the corpora and the test set"
            )
        elif len(rows) > 1 and not first["lead_low"] > 0:
            warnings.append(
                f"test set '{testset}': '{first['corpus']}' and '{rows.iloc[1]['corpus']}' cannot "
                "be told apart as the first"
            )
    for (testset, corpus), found in shared.groupby(["testset", "corpus"], sort=False):
        n = len(found)
        warnings.append(
            f"{n} {_texts(n)} of test set '{testset}' can be read in the sample of corpus "
            f"'{corpus}': its influence is in part that of copies (duplicates.csv)"
        )
    return warnings


def _influence(change: Change) -> float:
    total = float((change.nll_after - change.before.nll.numpy()).sum())
    return total / int(change.before.tokens.sum()) / change.unit


def _spread(influences: Iterable[float]) -> float:
    """Return the standard deviation over corpora; 0 for a single corpus.

    Of five or more corpora the one farthest from the median is left out, as its distance would
    count as an error.
    """
    values = np.array(list(influences))
    if len(values) >= _ENOUGH:
        values = np.delete(values, np.abs(values - np.median(values)).argmax())
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _texts(n: int) -> str:
    return "text" if n == 1 else "texts"


def _resampled(
    changes: Sequence[Change],
) -> list[tuple[Change, NDArray[np.float64]]]:
    """Pair each change with its bootstrap means (R,); changes of one dataset share resamples."""
    groups: dict[Subset | str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.of, []).append(change)
    found = []
    for seed, group in enumerate(groups.values()):
        before = group[0].before
        after = np.stack([change.nll_after for change in group])
        units = np.array([[change.unit] for change in group])
        difference = (after - before.nll.numpy()) / units
        rng = np.random.default_rng(seed)
        means = bootstrap_means(difference, before.tokens.numpy(), rng)
        found += list(zip(group, means, strict=True))
    return found
