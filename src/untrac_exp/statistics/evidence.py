"""Evidence for scores without a ground truth: ranking, examples, duplicates, warnings."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from untrac_exp.data.base import Subset
from untrac_exp.methods.base import Influences
from untrac_exp.stages.inputs import Inputs
from untrac_exp.statistics.ranking import TEST, rank, top_examples, weaknesses


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
    ranking = rank(influences.changes, influences.relative_error, influences.partial)
    decode = partial(inputs.training.tokenizer.decode, skip_special_tokens=True)
    examples = top_examples(influences.changes, influences.read, decode)
    for i, row in examples.iterrows():  # index in the whole sample
        of = Subset(row["testset"], row["subset"]) if row["read"] == TEST else row["corpus"]
        if of in rows:
            examples.loc[i, "index"] = int(rows[of][row["index"]])
    tables = {"ranking": ranking, "examples": examples, "duplicates": inputs.duplicates}
    return tables, weaknesses(ranking, inputs.subsets, inputs.duplicates)
