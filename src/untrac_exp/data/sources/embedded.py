"""Reader of the texts that are included in the package, `texts/*.jsonl.xz` beside this module.

`texts/README.md` lists their sources and licences.
"""

import json
import lzma
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from untrac_exp.data.base import Row

TEXTS = Path(__file__).parent / "texts"
"""Folder of the texts and of the ground truths computed for them."""


class Texts(NamedTuple):
    """Rows of a file by corpus, by test set and subset, and the source of each of them."""

    corpora: dict[str, list[Row]]
    testsets: dict[str, dict[str, list[Row]]]
    sources: dict[str, str]


@cache
def read(name: str) -> Texts:
    """Load `texts/<name>.jsonl.xz`. A corpus or test set without a source has its own name."""
    texts = Texts({}, {}, {})
    with lzma.open(TEXTS / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            row = Row(record["text"])
            if "corpus" in record:
                dataset = record["corpus"]
                texts.corpora.setdefault(dataset, []).append(row)
            else:
                dataset = record["testset"]
                subsets = texts.testsets.setdefault(dataset, {})
                subsets.setdefault(record.get("subset", "all"), []).append(row)
            texts.sources[dataset] = record.get("source", dataset)
    return texts


def chosen(key: str, names: Sequence[str] | None, known: Collection[str]) -> Collection[str]:
    """Return `names`, or all that are known. Raises ValueError for an unknown name."""
    for name in names or ():
        if name not in known:
            raise ValueError(f"{key}: there is no '{name}'; choose from {', '.join(known)}")
    return known if names is None else names
