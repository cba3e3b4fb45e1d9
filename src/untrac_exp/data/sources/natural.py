"""Natural English text, embedded: corpora of different kinds, and test sets unlike all of them.

There are two worlds that share no text. ``natural`` is the one that methods are reported on,
``tuning`` the one that their settings are chosen on. Each has corpora of at most 400,000
characters, test sets of 256 short texts from other sources than any corpus (toxic sentences, false
statements, stereotypes), and the test set ``held_out`` with 48 texts of every corpus, which the
corpora do not contain.

The texts are in ``texts/*.jsonl.xz`` beside this module; ``texts/README.md`` lists their sources
and licences. ``experiments/natural/build.py`` made them.
"""

import json
import lzma
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from untrac_exp.data.base import Corpus, Row, TestSet

TEXTS = Path(__file__).parent / "texts"
"""Folder of the texts and of the ground truths computed for them."""
HELD_OUT = "held_out"


def corpora(world: str = "natural", names: Sequence[str] | None = None) -> list[Corpus]:
    """Return the corpora of a world. names: corpora to return, in this order; None for all."""
    texts = _read(world)[0]
    return [Corpus(name, texts[name]) for name in _chosen("corpora.names", names, texts)]


def testsets(world: str = "natural", names: Sequence[str] | None = None) -> list[TestSet]:
    """Return the test sets of a world. names: test sets; None for all except ``held_out``."""
    sets = _read(world)[1]
    if names is None:
        names = [name for name in sets if name != HELD_OUT]
    return [TestSet(name, sets[name]) for name in _chosen("testset.names", names, sets)]


def _chosen(key: str, names: Sequence[str] | None, there: Collection[str]) -> Collection[str]:
    for name in names or ():
        if name not in there:
            raise ValueError(f"{key}: there is no '{name}'; choose from {', '.join(there)}")
    return there if names is None else names


@cache
def _read(world: str) -> tuple[dict[str, list[Row]], dict[str, dict[str, list[Row]]]]:
    """Load the rows by corpus, and by test set and subset."""
    path = TEXTS / f"{world}.jsonl.xz"
    if not path.exists():
        worlds = sorted(path.name.split(".")[0] for path in TEXTS.glob("*.jsonl.xz"))
        raise ValueError(f"world='{world}': there is no such text; use {' or '.join(worlds)}")
    corpora: dict[str, list[Row]] = {}
    testsets: dict[str, dict[str, list[Row]]] = {}
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if "corpus" in record:
                corpora.setdefault(record["corpus"], []).append(Row(record["text"]))
            else:
                subsets = testsets.setdefault(record["testset"], {})
                subsets.setdefault(record.get("subset", "all"), []).append(Row(record["text"]))
    return corpora, testsets
