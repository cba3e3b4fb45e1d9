"""Rows to tokens, kept in the store: what every job of a sweep shares."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.encoding import PREFIX, Encoded, encode, pack_part
from untrac_exp.data.fingerprint import corpus_fingerprint
from untrac_exp.data.sampling import reservoir
from untrac_exp.store import Store
from untrac_exp.store.code import code_fingerprint

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
    """The folder of a corpus' tokens: blocks of plain text, a sequence for a row with a context.

    max_sequences: how many are kept, of blocks a draw from a bounded part of the corpus (see
    `pack`); None keeps all. packed: false gives plain text a sequence a
    row, too. `load` reads them.
    """
    key: dict[str, object] = {
        "corpus": corpus_fingerprint(corpus),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "block_size": block_size,
        "seq2seq": seq2seq,
        "max_sequences": max_sequences,
        "code": code_fingerprint([__name__, "untrac_exp.data.tokenizing", "untrac_exp.data.rows"]),
    }
    if not packed:
        key["packed"] = False
    elif max_sequences is not None:
        key["prefix"] = PREFIX

    def build(out: Path) -> None:
        what = f"corpus '{corpus.name}'"
        if packed:
            data = _tokens(corpus.rows, tokenizer, block_size, seq2seq, max_sequences, what)
        else:
            rows = corpus.rows
            data = encode(rows, tokenizer, block_size, seq2seq, what, skip_empty=True)
            data = data.sample(max_sequences, seed=0)
        data.save(out / FILE)

    return store.get("tokens", key, build)


def load(folder: Path, seq2seq: bool) -> Encoded:
    """The tokens that `encode_corpus` left in a folder."""
    return Encoded.load(folder / FILE, seq2seq)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of what turns text, and conversations, into tokens."""
    if tokenizer.is_fast:
        state = tokenizer.backend_tokenizer.to_str()
    else:
        state = repr((type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())))
    state += f"{tokenizer.special_tokens_map}{tokenizer.chat_template or ''}"
    return hashlib.sha256(state.encode()).hexdigest()


def _tokens(
    rows: Iterable[Row],
    tokenizer: PreTrainedTokenizerBase,
    block_size: int,
    seq2seq: bool,
    max_sequences: int | None,
    what: str,
) -> Encoded:
    """Blocks of the plain texts, then rows with a context one by one.

    All rows one by one for a seq2seq model, and where a few plain texts among others fill no block.
    """

    def alone(rows: Iterable[Row]) -> Encoded:
        return encode(rows, tokenizer, block_size, seq2seq, what, skip_empty=True)

    if seq2seq:
        return alone(rows).sample(max_sequences, seed=0)
    others: list[Row] = []
    try:
        blocks, part = pack_part(_plain(rows, others), tokenizer, block_size, max_sequences, what)
    except ValueError:
        if not others:
            raise
        return alone(rows).sample(max_sequences, seed=0)
    if part < 1:  # of the others as many, or their share would grow
        others = reservoir(others, round(part * len(others)), seed=0)
    parts = [blocks, alone(others)] if others else [blocks]
    return Encoded.concatenate(parts).sample(max_sequences, seed=0)


def _plain(rows: Iterable[Row], others: list[Row]) -> Iterator[Row]:
    """The rows of plain text; those with a context are put in `others`."""
    for row in rows:
        if row.input:
            others.append(row)
        else:
            yield row
