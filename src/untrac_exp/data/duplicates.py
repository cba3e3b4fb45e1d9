"""Find test texts that occur in a corpus, verbatim or nearly so.

Uses exact n-grams, not MinHash: only the test texts are indexed and the corpora are streamed, so
memory is bounded by the size of the test sets. MinHash (such as datasketch) avoids comparing all
pairs of documents, which is not needed here.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

SHARED = 0.5
"""Minimum fraction of a test text's n-grams in a document for it to count as found."""
EXCERPT_CHARS = 120
_WORD = re.compile(r"\w+")


class _Test(NamedTuple):
    """A test text by subset and index, and its number of distinct n-grams."""

    key: Hashable
    place: int
    grams: int


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
        One row per corpus and test text found, largest share first: corpus, subset (key in
        `tests`), test_index (in the subset), share (of the test text's distinct n-grams, in the
        document with most of them) and excerpt (of that document, from the first shared n-gram).
    """
    index, lengths = _index(tests, n)
    rows = []
    for corpus, documents in corpora.items():
        best: dict[_Test, tuple[float, str]] = {}
        for document in documents:
            for test, (share, start) in _found(document, index, lengths).items():
                if share >= SHARED and share > best.get(test, (0.0,))[0]:
                    best[test] = (share, document[start : start + EXCERPT_CHARS])
        rows += [(corpus, test.key, test.place, *found) for test, found in best.items()]
    table = pd.DataFrame(rows, columns=["corpus", "subset", "test_index", "share", "excerpt"])
    return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def _index(
    tests: Mapping[Hashable, Sequence[str]], n: int
) -> tuple[dict[str, list[_Test]], list[int]]:
    """Return the tests that contain each n-gram, and the n-gram lengths in words."""
    index: dict[str, list[_Test]] = {}
    lengths = {n}
    for key, texts in tests.items():
        for i, text in enumerate(texts):
            words = _WORD.findall(text.lower())
            length = min(n, len(words))
            if length == 0:
                continue
            lengths.add(length)
            grams = set(_grams(words, length))
            for gram in grams:
                index.setdefault(gram, []).append(_Test(key, i, len(grams)))
    return index, sorted(lengths)


def _found(
    document: str, index: Mapping[str, list[_Test]], lengths: Sequence[int]
) -> dict[_Test, tuple[float, int]]:
    """Return by test the share of its n-grams in the document, and where the first starts."""
    matches = list(_WORD.finditer(document.lower()))
    words = [match[0] for match in matches]
    seen: set[str] = set()
    counts: dict[_Test, int] = {}
    starts: dict[_Test, int] = {}
    for length in lengths:
        for i, gram in enumerate(_grams(words, length)):
            if gram in index and gram not in seen:
                seen.add(gram)
                for test in index[gram]:
                    counts[test] = counts.get(test, 0) + 1
                    starts[test] = min(starts.get(test, len(document)), matches[i].start())
    return {test: (count / test.grams, starts[test]) for test, count in counts.items()}


def _grams(words: Sequence[str], length: int) -> Iterator[str]:
    return (" ".join(words[i : i + length]) for i in range(len(words) - length + 1))
