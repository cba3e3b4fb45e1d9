"""Content hashes of what people bring, so that the store knows when it changed."""

import hashlib
from collections.abc import Iterable

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.store.code import code_fingerprint


def corpus_fingerprint(corpus: Corpus) -> str:
    """sha256 of a corpus: of every row, or of its own fingerprint and the code that reads it."""
    if corpus.fingerprint is None:
        return _rows_fingerprint(corpus.rows)
    code = code_fingerprint([type(corpus.rows).__module__, "untrac_exp.data.rows"])
    return hashlib.sha256(f"{corpus.fingerprint}\0{code}".encode()).hexdigest()


def testset_fingerprint(testset: TestSet) -> str:
    """sha256 of the names of a test set and its subsets, and of every row."""
    digest = hashlib.sha256(testset.name.encode())
    for name, rows in testset.subsets.items():
        digest.update(f"\0{name}\0{_rows_fingerprint(rows)}".encode())
    return digest.hexdigest()


def _rows_fingerprint(rows: Iterable[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{len(row.input)}:{len(row.target)}\0{row.input}{row.target}".encode())
        if row.chat:
            digest.update(repr(row.chat).encode())
    return digest.hexdigest()
