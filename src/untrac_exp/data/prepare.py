"""Encode rows as tokens and store them for all jobs of a sweep.

Order: rows, (input, target) token ids (`tokenizing`), packed or padded (`packing`), stored.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.fingerprint import corpus_fingerprint, tokenizer_fingerprint
from untrac_exp.data.packing import PREFIX, packed, padded
from untrac_exp.data.tokenizing import tokenized
from untrac_exp.store import Store
from untrac_exp.store.code import code_fingerprint

FILE = "tokens.safetensors"


def check_names(corpora: Sequence[Corpus], testsets: Sequence[TestSet]) -> None:
    """Raise `ValueError` if a name is not unique, or there is no corpus, test set or subset."""
    for key, names in (
        ("corpora", [corpus.name for corpus in corpora]),
        ("testset", [testset.name for testset in testsets]),
    ):
        if not names:
            raise ValueError(f"{key} is empty; give at least one")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{key}: '{name}' occurs twice; give each its own name")
    for testset in testsets:
        if not testset.subsets:
            raise ValueError(f"test set '{testset.name}' has no subset; add texts")


def encode_corpus(
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerBase,
    *,
    block_size: int,
    seq2seq: bool,
    max_sequences: int | None,
    store: Store,
    pack: bool = True,
) -> Path:
    """Encode a corpus and return the folder of its tokens, for `load`.

    Args:
        corpus: the corpus.
        tokenizer: the model's tokenizer.
        block_size: maximum number of tokens of a sequence.
        seq2seq: whether the model is an encoder-decoder.
        max_sequences: number of sequences to keep; None keeps all. See `packed`.
        store: where the tokens are stored.
        pack: pack plain text into blocks if the model is causal; else each row is a sequence.

    Raises:
        ValueError: there is nothing to score, or plain text does not fill a block.
    """
    key: dict[str, object] = {
        "corpus": corpus_fingerprint(corpus),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "block_size": block_size,
        "seq2seq": seq2seq,
        "max_sequences": max_sequences,
        "code": code_fingerprint([__name__, "untrac_exp.data.tokenizing", "untrac_exp.data.rows"]),
    }
    if not pack:
        key["packed"] = False
    elif max_sequences is not None:
        key["prefix"] = PREFIX

    def build(out: Path) -> None:
        texts = tokenized(corpus.rows, tokenizer, seq2seq, f"corpus '{corpus.name}'")
        if pack and not seq2seq:
            data = packed(texts, block_size, max_sequences)
        else:
            data = padded(texts, block_size, skip_empty=True).sample(max_sequences, seed=0)
        data.save(out / FILE)

    return store.get("tokens", key, build)


def encode(
    rows: Iterable[Row],
    tokenizer: PreTrainedTokenizerBase,
    block_size: int,
    seq2seq: bool,
    what: str,
    skip_empty: bool = False,
) -> Encoded:
    """Encode each row as one example, see `padded`. what: name of the rows in errors."""
    return padded(tokenized(rows, tokenizer, seq2seq, what), block_size, skip_empty)


def load(folder: Path, seq2seq: bool) -> Encoded:
    """Load the tokens that `encode_corpus` stored in a folder."""
    return Encoded.load(folder / FILE, seq2seq)
