"""Find test texts that occur in a corpus, verbatim or nearly so.

Uses exact n-grams: only the test texts are indexed and the corpora are streamed, so memory is
bounded by the size of the test sets.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import pandas as pd

SHARED = 0.5
"""Minimum fraction of a test text's n-grams in a document for it to count as shared."""
EXCERPT_CHARS = 120
_WORD = re.compile(r"\w+")


_Test = tuple[Hashable, int]
"""A test text by subset and index."""
_Index = dict[str, list[_Test]]
"""Tests by n-gram."""


def shared_texts(
    corpora: Mapping[str, Iterable[str]],
    tests: Mapping[Hashable, Sequence[str]],
    n: int = 8,
) -> pd.DataFrame:
    """Find test texts of which at least half occurs in one document of a corpus.

    Words are lower-cased runs of letters and digits, without punctuation. A text shorter than `n`
    words is one n-gram.

    Args:
        corpora: documents by corpus name, read once.
        tests: test texts by subset.
        n: words per n-gram.

    Returns:
        One row per corpus and shared test text, largest share first: corpus, subset (key in
        `tests`), test_index (in the subset), share (of the test text's distinct n-grams, in the
        document with most of them) and excerpt (of that document, from the first shared n-gram).
    """
    grams = {
        (key, i): set(_grams(words, min(n, len(words))))
        for key, texts in tests.items()
        for i, text in enumerate(texts)
        if (words := _WORD.findall(text.lower()))
    }
    index: _Index = {}
    for test, own in grams.items():
        for gram in own:
            index.setdefault(gram, []).append(test)
    lengths = sorted({gram.count(" ") + 1 for gram in index})
    rows = []
    for corpus, documents in corpora.items():
        best: dict[_Test, tuple[float, str]] = {}
        for document in documents:
            for test, starts in _shared_grams(document, index, lengths).items():
                share = len(starts) / len(grams[test])
                if share >= SHARED and share > best.get(test, (0.0,))[0]:
                    start = min(starts.values())
                    best[test] = (share, document[start : start + EXCERPT_CHARS])
        rows += [(corpus, *test, *match) for test, match in best.items()]
    table = pd.DataFrame(rows, columns=["corpus", "subset", "test_index", "share", "excerpt"])
    return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def _shared_grams(
    document: str, index: _Index, lengths: Sequence[int]
) -> dict[_Test, dict[str, int]]:
    """Return by test those of its n-grams that are in the document, and where each starts."""
    matches = list(_WORD.finditer(document.lower()))
    words = [match[0] for match in matches]
    shared: dict[_Test, dict[str, int]] = {}
    for length in lengths:
        for i, gram in enumerate(_grams(words, length)):
            for test in index.get(gram, ()):
                shared.setdefault(test, {}).setdefault(gram, matches[i].start())
    return shared


def _grams(words: Sequence[str], length: int) -> Iterator[str]:
    return (" ".join(words[i : i + length]) for i in range(len(words) - length + 1))
