"""Evidence for scores without a ground truth: ranking, examples, duplicates, warnings."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from untrac_exp.anytime import Refined
from untrac_exp.data.duplicates import shared_texts
from untrac_exp.inputs import Data
from untrac_exp.methods.base import Subset
from untrac_exp.ranking import TEST, rank, top_examples, weaknesses


@dataclass(frozen=True)
class Evidence:
    """Tables as in ranking.csv, examples.csv and duplicates.csv, and warnings."""

    ranking: pd.DataFrame
    examples: pd.DataFrame
    shared: pd.DataFrame
    warnings: list[str]


def evidence(data: Data, found: Refined) -> Evidence:
    """Collect what a user without a ground truth needs to judge the scores."""
    answer = found.answer
    ranking = rank(answer.changes, answer.relative_error, answer.partial)
    corpora = {
        corpus.name: (row.input + row.target for row in corpus.rows) for corpus in data.corpora
    }
    tests: dict[Hashable, list[str]] = {
        Subset(testset.name, name): [row.target for row in rows]
        for testset in data.testsets
        for name, rows in testset.subsets.items()
    }
    shared = shared_texts(corpora, tests)
    subsets = shared.pop("subset")
    shared["testset"] = [subset.testset for subset in subsets]
    shared["subset"] = [subset.subset for subset in subsets]
    decode = partial(data.training.tokenizer.decode, skip_special_tokens=True)
    examples = top_examples(answer.changes, answer.read, decode)
    for i, row in examples.iterrows():  # index in the whole sample
        of = Subset(row["testset"], row["subset"]) if row["read"] == TEST else row["corpus"]
        if of in found.places:
            examples.loc[i, "index"] = int(found.places[of][row["index"]])
    return Evidence(ranking, examples, shared, weaknesses(ranking, data.subsets, shared))
