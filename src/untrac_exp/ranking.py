"""What the losses of single examples say about a ranking: who can be told apart, and where from.

Intervals are 95 % bootstrap intervals over the examples that were read. UnTrac reads the same test
texts after each corpus, so two corpora share their resamples and their difference is a paired one.
UnTrac-Inv reads each corpus' own examples, drawn independently: so are their resamples, and the
difference of two corpora is one of independent means. What is *not* in the intervals of single
influences is what was unlearned: another sample of the corpus (UnTrac), other test texts
(UnTrac-Inv). The intervals of differences are wider by what a method misses beside that, in units
of the spread (standard deviation) of its influences over the corpora; see `Method.missed`. Those of
single influences are as much wider in an answer of part of the samples, whose unlearned texts are
few.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from untrac_exp.bootstrap import bootstrap_means, percentile_interval
from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.methods.base import Change, Subset
from untrac_exp.result_files import EXAMPLES, RANKING
from untrac_exp.trust import widened

TEST, CORPUS = "test set", "corpus"
PAIRS = ["testset", "subset", "first", "second", "difference", "low", "high"]

_TOP = 20
_LONGEST_TEXT = 400
FEW = 32
"""Test texts below which an answer is called weak."""


def rank(changes: Sequence[Change], missed: float = 0.0, partial: bool = False) -> pd.DataFrame:
    """Corpora by their influence on each test set, the mean over its subsets.

    missed: as in `Method.missed`. partial: whether only part of the samples was read.
    Columns as in `RANKING`, nats per token; lead: how much more than the corpus one rank below,
    with its interval, NaN for the last. Corpora whose lead's interval includes 0 are not told
    apart from the next.
    """
    means: dict[tuple[str, str], list[float]] = {}
    draws: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for change, resampled in _resampled(changes):
        cell = (change.subset.testset, change.corpus)
        difference = change.nll_after - change.before.nll.numpy()
        means.setdefault(cell, []).append(difference.sum() / int(change.before.tokens.sum()))
        draws.setdefault(cell, []).append(resampled)
    rows = []
    for testset in dict.fromkeys(testset for testset, _ in means):
        corpora = [corpus for name, corpus in means if name == testset]
        influence = {corpus: float(np.mean(means[testset, corpus])) for corpus in corpora}
        resampled_of = {corpus: np.mean(draws[testset, corpus], axis=0) for corpus in corpora}
        corpora.sort(key=lambda corpus: -influence[corpus])
        extra = missed * _spread(influence.values())
        for i, corpus in enumerate(corpora):
            lead = (np.nan, np.nan, np.nan)
            if i + 1 < len(corpora):
                below = corpora[i + 1]
                difference = influence[corpus] - influence[below]
                between = percentile_interval(resampled_of[corpus] - resampled_of[below])
                low, high = widened(difference, *between, extra)
                lead = (difference, float(low), float(high))
            low, high = widened(
                influence[corpus],
                *percentile_interval(resampled_of[corpus]),
                extra if partial else 0.0,
            )
            row = (testset, i + 1, corpus, influence[corpus], float(low), float(high))
            rows.append((*row, *lead))
    return pd.DataFrame(rows, columns=RANKING)


def widen(scores: pd.DataFrame, missed: float) -> pd.DataFrame:
    """Scores of part of the samples, their intervals widened as those of `rank`."""
    cells = scores.groupby(["testset", "subset"], sort=False)["influence"]
    spread = cells.transform(lambda influences: _spread(influences))
    low, high = widened(scores["influence"], scores["ci_low"], scores["ci_high"], missed * spread)
    return scores.assign(ci_low=low, ci_high=high)


def pairs(changes: Sequence[Change], missed: float = 0.0) -> pd.DataFrame:
    """Every two corpora on every subset, compared as `rank` compares neighbours.

    Columns testset, subset, first, second, difference, low, high: first has more influence, by the
    difference (>= 0, nats per token) with its interval. missed: as in `Method.missed`. Those whose
    low is above 0 are the claims that `trust.checked` holds against a truth.
    """
    found = []
    of_subset: dict[Subset, list[tuple[str, float, NDArray[np.float64]]]] = {}
    for change, resampled in _resampled(changes):
        total = (change.nll_after - change.before.nll.numpy()).sum()
        influence = float(total / int(change.before.tokens.sum()))
        of_subset.setdefault(change.subset, []).append((change.corpus, influence, resampled))
    for subset, corpora in of_subset.items():
        extra = missed * _spread(influence for _, influence, _ in corpora)
        for a, b in combinations(sorted(corpora, key=lambda corpus: -corpus[1]), 2):
            low, high = widened(a[1] - b[1], *percentile_interval(a[2] - b[2]), extra)
            found.append((*subset, a[0], b[0], a[1] - b[1], float(low), float(high)))
    return pd.DataFrame(found, columns=PAIRS)


def moved(
    changes: Sequence[Change],
    datasets: Mapping[Any, Encoded],
    decode: Callable[[list[int]], str],
) -> pd.DataFrame:
    """The examples of each test set whose loss rose most, and the corpus that moved them.

    datasets: the examples by the name of what was read. decode: token ids to text.
    Columns as in `EXAMPLES`, at most 20 rows a test set, the largest change first. read says what
    was read: a text of the test set after the corpus was unlearned, or a text of the corpus after
    the test subset was; index is its place there. change is in nats per token of the text.
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
    """Why a reader should not lean on the answer, a sentence each.

    shared: columns corpus, testset and others, as in duplicates.csv.
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


def _spread(influences: Iterable[float]) -> float:
    """Standard deviation over corpora; 0 of one."""
    values = np.array(list(influences))
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _texts(n: int) -> str:
    return "text" if n == 1 else "texts"


def _resampled(
    changes: Sequence[Change],
) -> list[tuple[Change, NDArray[np.float64]]]:
    """Each change with its bootstrap means (R,); those of the same dataset share resamples."""
    groups: dict[Subset | str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.of, []).append(change)
    found = []
    for seed, group in enumerate(groups.values()):
        before = group[0].before
        difference = np.stack([change.nll_after for change in group]) - before.nll.numpy()
        rng = np.random.default_rng(seed)
        means = bootstrap_means(difference, before.tokens.numpy(), rng)
        found += list(zip(group, means, strict=True))
    return found
