"""Where in the text: what each corpus did to the tokens of test texts.

The influence on a token is the change of its loss, in nats. Averaged over the tokens of a test
subset, as the loss is, it is the influence on the subset.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.methods.base import Change, Influences

TOKENS = ["testset", "corpus", "subset", "index", "change", "position", "token", "influence"]


def token_influences(
    influences: Influences, rows: Mapping[Any, Any], decode: Callable[[list[int]], str], n: int
) -> pd.DataFrame:
    """Return the influences on the tokens of the texts that each corpus moved most.

    Args:
        influences: of a method that evaluates the test texts.
        rows: indices of the examples read, by dataset; a dataset that was read whole has none.
        decode: returns the text of token ids.
        n: number of texts of each test set and corpus.

    Returns:
        Columns as in `TOKENS`; texts by the size of their change, in nats per token. influence is
        NaN for a first token, which nothing predicts. Empty if no losses of tokens were kept.
    """
    texts = [
        (change.subset.testset, change.corpus, at, index, value)
        for at, change in enumerate(influences.changes)
        if change.of == change.subset and len(change.after.token_nll)
        for index, value in enumerate(change.per_token)
    ]
    table = pd.DataFrame(texts, columns=["testset", "corpus", "at", "index", "change"])
    table = table.sort_values("change", key=np.abs, ascending=False, kind="stable")
    most = table.groupby(["testset", "corpus"], sort=False).head(n)
    tokens = []
    for testset, corpus, at, index, value in most.itertuples(index=False):
        change = influences.changes[at]
        row = int(rows[change.of][index]) if change.of in rows else index
        text = testset, corpus, change.subset.subset, row, value
        pieces = _pieces(change, influences.read[change.of], index, decode)
        tokens += [(*text, position, *piece) for position, piece in enumerate(pieces)]
    return pd.DataFrame(tokens, columns=TOKENS)


def _pieces(
    change: Change, data: Encoded, index: int, decode: Callable[[list[int]], str]
) -> list[tuple[str, float]]:
    """Return the text of each token of an example, and the influence on it.

    A token that ends within a character has no text of its own; the token that ends it has.
    """
    end = int(data.scored[: index + 1].sum())
    place = slice(end - int(data.scored[index]), end)
    moved = (change.after.token_nll[place] - change.before.token_nll[place]).numpy()
    ids = data.labels[index][data.labels[index] != IGNORED].tolist()
    influence = [np.nan] * (len(ids) - len(moved)) + moved.tolist()
    pieces, shown = [], 0
    for i, value in enumerate(influence, start=1):
        text = decode(ids[:i])
        is_whole = i == len(ids) or not text.endswith("\N{REPLACEMENT CHARACTER}")
        pieces.append((text[shown:] if is_whole else "", value))
        shown = len(text) if is_whole else shown
    return pieces
