"""Encode rows as tokens and store them for all jobs of a sweep.

Order: rows, (input, target) token ids (`tokenizing`), packed or padded (`packing`), stored.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.fingerprint import corpus_fingerprint, rows_fingerprint, tokenizer_fingerprint
from untrac_exp.data.packing import packed, padded
from untrac_exp.data.tokenizing import Tokenization
from untrac_exp.store import Store
from untrac_exp.store.code import code_fingerprint

log = logging.getLogger(__name__)

READING = "reading.json"
"""File beside the tokens: `Corpus.reading`, and the numbers of `cut` and `empty` texts."""


def check_names(corpora: Sequence[Corpus], testsets: Sequence[TestSet]) -> None:
    """Raise `ValueError` if a name is no name or there twice, or there is no corpus or test set."""
    named: dict[str, Sequence[Corpus | TestSet]] = {"corpora": corpora, "testset": testsets}
    for key, given in named.items():
        if not given:
            raise ValueError(f"{key} is empty; give at least one")
        [(name, times)] = Counter(item.name for item in given).most_common(1)
        if times > 1:
            raise ValueError(f"{key}: '{name}' occurs twice; give each its own name")
        for item in given:
            if not item.name.strip() or len(item.name.splitlines()) > 1:
                raise ValueError(f"{key}: the name {item.name!r} is not a line of text; correct it")
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
    end_of_input: bool = True,
    n_tokens: int | None = None,
    seed: int = 0,
) -> Path:
    """Encode a corpus and return the folder of its tokens, for `Encoded.load`.

    Args:
        block_size: maximum number of tokens of a sequence.
        max_sequences: number of sequences to keep; None keeps all. See `packed`.
        pack: pack plain text into blocks if the model is causal; else each row is a sequence.
        end_of_input: as in `Tokenization`.
        n_tokens: keep a sample of about so many tokens; None keeps all. seed: of this sample.

    Raises:
        ValueError: there is nothing to score, or plain text does not fill a block.
    """
    key = {
        "corpus": corpus_fingerprint(corpus),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "block_size": block_size,
        "seq2seq": seq2seq,
        "max_sequences": max_sequences,
        "pack": pack,
        "end_of_input": end_of_input,
        "sample": None if n_tokens is None else [n_tokens, seed],
        "code": code_fingerprint([__name__, "untrac_exp.data.tokenizing", "untrac_exp.data.rows"]),
    }

    def build(out: Path) -> None:
        what = f"corpus '{corpus.name}'"
        tokenization = Tokenization(tokenizer, seq2seq, what, end_of_input)
        if pack and not seq2seq:
            data = packed(corpus.rows, tokenization, block_size, max_sequences)
        else:
            data = padded(tokenization.pairs(corpus.rows), tokenization, block_size, True)
        data = data.sample(max_sequences, seed=0)
        if n_tokens is not None:
            data = data.select(data.token_sample(n_tokens, seed))
        data.save(out)
        reading = {**corpus.reading, **tokenization.counts}
        (out / READING).write_text(json.dumps(reading))
        counts = [f"{count} {what}" for what, count in reading.items() if what != "ignored"]
        if counts:
            log.info("corpus '%s': %s", corpus.name, ", ".join(counts))

    return store.get("tokens", key, build)


def encode(
    rows: Iterable[Row],
    tokenizer: PreTrainedTokenizerBase,
    block_size: int,
    seq2seq: bool,
    what: str,
    skip_empty: bool = False,
    end_of_input: bool = True,
) -> Encoded:
    """Encode each row as one example, see `padded`. what: name of the rows in errors."""
    tokenization = Tokenization(tokenizer, seq2seq, what, end_of_input)
    return padded(tokenization.pairs(rows), tokenization, block_size, skip_empty)


def encode_once(
    rows: Sequence[Row],
    store: Store,
    *,
    tokenizer: PreTrainedTokenizerBase,
    what: str,
    **settings: Any,
) -> Encoded:
    """Return what `encode` does; jobs with the same rows, tokenizer and settings share it."""
    key = {
        "rows": rows_fingerprint(rows),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        **settings,
        "code": code_fingerprint([__name__, "untrac_exp.data.tokenizing"]),
    }
    return Encoded.load(
        store.get(
            "tokens",
            key,
            lambda out: encode(rows, tokenizer, what=what, **settings).save(out),
        )
    )
