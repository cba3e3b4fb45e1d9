"""Rows to tokens, kept in the store: what every job of a sweep shares."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from untrac_exp.data.base import Corpus, TestSet
from untrac_exp.data.encoding import Encoded, encode, pack
from untrac_exp.data.fingerprint import corpus_fingerprint
from untrac_exp.store import Store

FILE = "tokens.safetensors"


def check_names(corpora: Sequence[Corpus], testsets: Sequence[TestSet]) -> None:
    """Raise `ValueError` for a name used twice, or for nothing to compare."""
    for key, names in (
        ("corpora", [corpus.name for corpus in corpora]),
        ("testset", [testset.name for testset in testsets]),
    ):
        if not names:
            raise ValueError(f"{key}: there is none; name at least one")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{key}: '{name}' is there twice; give each a name of its own")
    for testset in testsets:
        if not testset.subsets:
            raise ValueError(f"test set '{testset.name}' has no subset; give it texts")


def encode_corpus(
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerBase,
    *,
    block_size: int,
    seq2seq: bool,
    max_sequences: int | None,
    store: Store,
    packed: bool = True,
) -> Path:
    """The folder of a corpus' tokens: packed blocks for plain text, else one sequence a row.

    max_sequences: how many are kept; None keeps all. packed: false gives plain text a sequence a
    row, too. `load` reads them.
    """
    key: dict[str, object] = {
        "corpus": corpus_fingerprint(corpus),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "block_size": block_size,
        "seq2seq": seq2seq,
        "max_sequences": max_sequences,
    }
    if not packed:
        key["packed"] = False

    def build(out: Path) -> None:
        what = f"corpus '{corpus.name}'"
        rows, plain = _peek(corpus)
        if plain and packed and not seq2seq:
            data = pack(rows, tokenizer, block_size, max_sequences, what)
        else:
            data = encode(rows, tokenizer, block_size, seq2seq, what)
            data = data.sample(max_sequences, seed=0)
        data.save(out / FILE)

    return store.get("tokens", key, build)


def load(folder: Path, seq2seq: bool) -> Encoded:
    """The tokens that `encode_corpus` left in a folder."""
    return Encoded.load(folder / FILE, seq2seq)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of what turns text into tokens."""
    if tokenizer.is_fast:
        state = tokenizer.backend_tokenizer.to_str()
    else:
        state = repr((type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())))
    return hashlib.sha256(f"{state}{tokenizer.special_tokens_map}".encode()).hexdigest()


def _peek(corpus: Corpus) -> tuple[Iterable, bool]:
    """The rows, and whether they are plain text, as far as the first one tells."""
    rows = iter(corpus.rows)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"corpus '{corpus.name}' has no rows; give it text or leave it out")
    return chain([first], rows), first.input == ""
