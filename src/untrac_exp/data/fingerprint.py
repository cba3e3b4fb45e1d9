"""Content hashes of corpora, test sets and tokenizers, for store keys."""

import hashlib
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.store.code import code_fingerprint


def corpus_fingerprint(corpus: Corpus) -> str:
    """Return the sha256 of all rows, or of the corpus' fingerprint and the code that reads it."""
    if corpus.fingerprint is None:
        return rows_fingerprint(corpus.rows)
    code = code_fingerprint([type(corpus.rows).__module__, "untrac_exp.data.rows"])
    return hashlib.sha256(f"{corpus.fingerprint}\0{code}".encode()).hexdigest()


def testset_fingerprint(testset: TestSet) -> str:
    """Return the sha256 of a test set's name, its subsets' names and all rows."""
    digest = hashlib.sha256(testset.name.encode())
    for name, rows in testset.subsets.items():
        digest.update(f"\0{name}\0{rows_fingerprint(rows)}".encode())
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the sha256 of a tokenizer's state, special tokens and chat template."""
    if tokenizer.is_fast:
        state = tokenizer.backend_tokenizer.to_str()
    else:
        state = repr((type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())))
    state += f"{tokenizer.special_tokens_map}{tokenizer.chat_template or ''}"
    return hashlib.sha256(state.encode()).hexdigest()


def rows_fingerprint(rows: Iterable[Row]) -> str:
    """Return the sha256 of rows."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{len(row.input)}:{len(row.target)}\0{row.input}{row.target}".encode())
        if row.chat:
            digest.update(repr(row.chat).encode())
    return digest.hexdigest()
