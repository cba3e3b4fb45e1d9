"""Tables and warnings beside the scores, among them the evidence for scores without a truth."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import torch

from untrac_exp.data.base import Subset
from untrac_exp.methods.base import Influences
from untrac_exp.methods.common.budget import Round
from untrac_exp.stages.inputs import Inputs
from untrac_exp.statistics.intervals import with_intervals
from untrac_exp.statistics.ranking import TEST, rank, top_examples, weaknesses
from untrac_exp.statistics.tokens import token_influences

_UNLIKE = 100
"""How many times the text of another corpus makes a corpus small beside it."""


def tables_of(
    attributed: Round, inputs: Inputs, tokens: int, has_evidence: bool
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the tables that a round gives, by the name of their file, and its warnings.

    Args:
        attributed: the round.
        inputs: the corpora and test sets, as text and as tokens.
        tokens: texts of each test set and corpus in the table tokens; 0 for no such table.
        has_evidence: whether to add the tables of `evidence`.
    """
    influences = attributed.influences
    tables = {"scores": with_intervals(influences)}
    warnings = [*influences.warnings, *data_warnings(inputs)]
    if has_evidence:
        more_tables, more_warnings = evidence(influences, attributed.rows, inputs)
        tables |= more_tables
        warnings += more_warnings
    if attributed.candidates is not None:
        tables["candidates"] = candidate_scores(influences, attributed.candidates)
        warnings += candidate_warnings(inputs)
    if tokens:
        decode = partial(inputs.training.tokenizer.decode, skip_special_tokens=True)
        tables["tokens"] = token_influences(influences, attributed.rows, decode, tokens)
    return tables, warnings


def data_warnings(inputs: Inputs) -> list[str]:
    """Return warnings about copies in test sets, and about equal or very small corpora."""
    warnings = []
    for (testset, subset), data in inputs.subsets.items():
        different = len(torch.cat([data.input_ids, data.labels], dim=1).unique(dim=0))
        if len(data) > 1 and different <= len(data) / 2:
            warnings.append(
                f"test set '{testset}', subset '{subset}': {len(data)} texts, only {different} of "
                "them different: intervals take copies for independent texts and are too narrow"
            )
    data_of = inputs.training.data
    names: dict[str, list[str]] = {}
    for name, data in data_of.items():
        names.setdefault(data.fingerprint, []).append(f"'{name}'")
    warnings += [
        f"corpora {', '.join(equal)} are identical: nothing can tell their influences apart"
        for equal in names.values()
        if len(equal) > 1
    ]
    sizes = sorted((data.read, name) for name, data in data_of.items())
    (least, small), (most, large) = sizes[0], sizes[-1]
    if most >= _UNLIKE * least:
        warnings.append(
            f"corpus '{small}' has {least:,} tokens against {most:,} of '{large}': so little text "
            "says hardly anything about its influence"
        )
    return warnings


def candidate_warnings(inputs: Inputs) -> list[str]:
    """Return which candidates have texts that are in a corpus already."""
    return [
        f"candidate '{candidate}': {share:.0%} of its texts can be read in the sample of corpus "
        f"'{corpus}' already"
        for candidate, shares in inputs.already_there.items()
        for corpus, share in shares.items()
    ]


def candidate_scores(corpora: Influences, candidates: Influences) -> pd.DataFrame:
    """Return the scores of the candidates with intervals, which are as wide as those of corpora."""
    both = replace(
        corpora,
        scores=pd.concat([corpora.scores, candidates.scores], ignore_index=True),
        changes=[*corpora.changes, *candidates.changes],
    )
    return with_intervals(both).iloc[len(corpora.scores) :].reset_index(drop=True)


def evidence(
    influences: Influences, rows: Mapping[Any, Any], inputs: Inputs
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Collect what a user without a ground truth needs to judge the scores.

    Args:
        influences: of a method that evaluates losses.
        rows: indices of the examples read, by dataset; a dataset that was read whole has none.
        inputs: the corpora and test sets, as text and as tokens.

    Returns:
        The tables ranking, examples and duplicates, and warnings.
    """
    ranking = rank(influences.changes, influences.partial)
    decode = partial(inputs.training.tokenizer.decode, skip_special_tokens=True)
    examples = top_examples(influences.changes, influences.read, decode)
    for i, row in examples.iterrows():  # index in the whole sample
        of = Subset(row["testset"], row["subset"]) if row["read"] == TEST else row["corpus"]
        if of in rows:
            examples.loc[i, "index"] = int(rows[of][row["index"]])
    tables = {"ranking": ranking, "examples": examples, "duplicates": inputs.duplicates}
    return tables, weaknesses(ranking, inputs.subsets, inputs.duplicates)
