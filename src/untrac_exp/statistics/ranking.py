"""Rankings of corpora from per-example losses, with intervals.

Intervals are 95 % bootstrap intervals over the evaluated examples. UnTrac evaluates the same test
texts after unlearning each corpus, so corpora share their resamples and differences are paired.
UnTrac-Inv evaluates each corpus's own examples, so resamples are independent and a difference is
one of independent means. The intervals of single influences do not cover the choice of unlearned
texts: another sample of the corpus (UnTrac), other test texts (UnTrac-Inv). The intervals of
differences are widened by a further error, `intervals.order_error`. If only part of the sample was
read (a time budget), those of single influences are widened too.

The level of the influences is not claimed: what is odd about one θ0 shifts the influences of all
corpora on a test set together, so only differences between corpora are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile, zip_longest
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.methods.base import Change, Subset
from untrac_exp.statistics.intervals import (
    bootstrap_means,
    order_error,
    percentile_interval,
    widen_interval,
)

TEST, CORPUS = "test set", "corpus"
RANKING = ["testset", "rank", "corpus", "influence", "ci_low", "ci_high"]
RANKING += ["lead", "lead_low", "lead_high", "behind"]
EXAMPLES = ["testset", "subset", "corpus", "read", "index", "change", "text"]

_TOP = 20
_LONGEST_TEXT = 400
FEW = 32
"""Number of test texts below which a warning is given."""


def rank(changes: Sequence[Change], partial: bool = False) -> pd.DataFrame:
    """Rank corpora by their influence on each test set, averaged over its subsets.

    Args:
        changes: per-example losses before and after unlearning.
        partial: whether only part of the sample was read.

    Returns:
        Columns as in `RANKING`, in nats per token. lead is the difference to the corpus one rank
        below, with its interval, NaN for the last rank. If that interval includes 0, the two
        corpora are not separated. behind is the number of corpora at the end of the ranking from
        all of which it is separated.
    """
    cells: dict[str, dict[str, list[Sampled]]] = {}
    for change, sampled in resampled(changes):
        of_testset = cells.setdefault(change.subset.testset, {})
        of_testset.setdefault(change.corpus, []).append(sampled)
    rows = []
    for testset, of_testset in cells.items():
        corpora = [_mean(of_subsets) for of_subsets in of_testset.values()]
        extra = order_error(corpus.influence for corpus in corpora)
        corpora.sort(key=lambda corpus: -corpus.influence)
        for i, (corpus, below) in enumerate(zip_longest(corpora, corpora[1:])):
            lead = (np.nan,) * 3 if below is None else compare(corpus, below, extra)
            own = _interval(corpus.influence, corpus.draws, extra if partial else 0.0)
            apart = (compare(corpus, last, extra)[1] > 0 for last in corpora[:i:-1])
            behind = sum(1 for _ in takewhile(bool, apart))
            rows.append((testset, i + 1, corpus.corpus, *own, *lead, behind))
    return pd.DataFrame(rows, columns=RANKING)


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
    rows = []
    for change in changes:
        per_token = change.per_token
        for index in np.argsort(-per_token)[:_TOP].tolist():
            rows.append((*change.subset, change.corpus, change.of, index, float(per_token[index])))
    table = pd.DataFrame(rows, columns=["testset", "subset", "corpus", "of", "index", "change"])
    table = table.sort_values("change", ascending=False, kind="stable")
    table = table.drop_duplicates(["testset", "of", "index"]).groupby("testset").head(_TOP)
    texts = []
    for of, index in zip(table["of"], table["index"], strict=True):
        labels = datasets[of].labels[index]
        texts.append(decode(labels[labels != IGNORED].tolist()).strip()[:_LONGEST_TEXT])
    read = [TEST if isinstance(of, Subset) else CORPUS for of in table["of"]]
    testsets = list(dict.fromkeys(change.subset.testset for change in changes))
    return table.assign(read=read, text=texts)[EXAMPLES].sort_values(
        "testset", key=lambda names: names.map(testsets.index), kind="stable", ignore_index=True
    )


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
        if len(rows) > 1 and not first["lead_low"] > 0:
            leading = rows["corpus"][(rows["behind"] >= first["behind"]).cumprod() == 1]
            last = rows["corpus"].tail(first["behind"])
            weak = f"'{first['corpus']}' and '{rows.iloc[1]['corpus']}' cannot be told apart"
            weak += (
                f", but {_names(leading)} can from {_names(last)}"
                if len(last)
                else ", nor can the first and the last"
            )
            warnings.append(f"test set '{testset}': {weak}")
    for (testset, corpus), copies in shared.groupby(["testset", "corpus"], sort=False):
        n = len(copies)
        warnings.append(
            f"{n} {_texts(n)} of test set '{testset}' can be read in the sample of corpus "
            f"'{corpus}': its influence is in part that of copies (duplicates.csv)"
        )
    return warnings


class Sampled(NamedTuple):
    """Influence of a corpus, and its bootstrap means (R,)."""

    corpus: str
    influence: float
    draws: NDArray[np.float64]


def resampled(changes: Sequence[Change]) -> Iterator[tuple[Change, Sampled]]:
    """Resample each change's examples; changes of one dataset share resamples."""
    groups: dict[Subset | str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.of, []).append(change)
    for seed, group in enumerate(groups.values()):
        differences = np.stack([change.nats for change in group])
        rng = np.random.default_rng(seed)
        means = bootstrap_means(differences, group[0].tokens, rng)
        for change, difference, draws in zip(group, differences, means, strict=True):
            influence = float(difference.sum()) / int(change.tokens.sum())
            yield change, Sampled(change.corpus, influence, draws)


def _mean(subsets: Sequence[Sampled]) -> Sampled:
    influence = float(np.mean([subset.influence for subset in subsets]))
    return Sampled(
        subsets[0].corpus, influence, np.mean([subset.draws for subset in subsets], axis=0)
    )


def compare(a: Sampled, b: Sampled, extra: float) -> tuple[float, float, float]:
    """Return the difference of two influences and the ends of its interval."""
    return _interval(a.influence - b.influence, a.draws - b.draws, extra)


def _interval(value: float, draws: NDArray[np.float64], extra: float) -> tuple[float, float, float]:
    """Return a value and the ends of its interval, with a further error."""
    low, high = widen_interval(value, *percentile_interval(draws), extra)
    return value, float(low), float(high)


def _names(corpora: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in corpora)


def _texts(n: int) -> str:
    return "text" if n == 1 else "texts"
