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
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from untrac_exp.data.base import Corpus, Row, TestSet

TEXTS = Path(__file__).parent / "texts"
"""Folder of the texts and of the ground truths computed for them."""
HELD_OUT = "held_out"
_T = TypeVar("_T")


def corpora(world: str = "natural", names: Sequence[str] | None = None) -> list[Corpus]:
    """Return the corpora of a world. names: corpora to return, in this order; None for all."""
    found = _read(world)[0]
    names = list(found) if names is None else names
    return [Corpus(name, _one("corpora.names", name, found)) for name in names]


def testsets(world: str = "natural", names: Sequence[str] | None = None) -> list[TestSet]:
    """Return the test sets of a world. names: test sets; None for all except ``held_out``."""
    found = _read(world)[1]
    names = [name for name in found if name != HELD_OUT] if names is None else names
    return [TestSet(name, _one("testset.names", name, found)) for name in names]


def _one(key: str, name: str, found: Mapping[str, _T]) -> _T:
    if name not in found:
        raise ValueError(f"{key}: there is no '{name}'; choose from {', '.join(found)}")
    return found[name]


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
