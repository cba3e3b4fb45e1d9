"""Samples by tokens: as large as asked, and nested."""

import pytest

from tests.trace_checkpoints import tokenizer
from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.prepare import encode, encode_corpus
from untrac_exp.data.sampling import sample_rows
from untrac_exp.store import Store

WORDS = "city river founded population century lol noob flame".split()
TEXTS = [" ".join(WORDS[(i * k + k) % 8] for k in range(1 + i % 17)) for i in range(60)]
ROWS = [Row(text) for text in TEXTS]
WITH_CONTEXT = [Row(text, " ".join(WORDS[: i % 9])) for i, text in enumerate(TEXTS)]


def encoded(rows, block_size=64, seq2seq=False):
    return encode(rows, tokenizer(), block_size, seq2seq, "texts")


@pytest.mark.parametrize("seq2seq", [False, True])
def test_a_sample_has_the_tokens_asked_for_and_a_larger_one_begins_with_it(seq2seq):
    data = encoded(WITH_CONTEXT, seq2seq=seq2seq)
    before: list[int] = []
    for tokens in (1, 40, 80, 160, data.read):
        rows = data.token_sample(tokens, seed=3)
        read = data.select(rows).read
        longest = max(data.select(rows[i : i + 1]).read for i in range(len(rows)))
        assert read >= tokens
        assert read - tokens < longest
        if tokens < data.read:
            assert rows.tolist()[: len(before)] == before
            before = rows.tolist()
    assert rows.tolist() == list(range(len(data)))


def test_corpora_of_long_and_of_short_texts_give_as_many_tokens(tmp_path):
    short = Corpus("short", [Row(f"{WORDS[i % 8]} {i}") for i in range(5000)])
    long = Corpus(
        "long", [Row(" ".join(WORDS[(i + k) % 8] for k in range(900))) for i in range(40)]
    )
    few = Corpus("few", ROWS[:3])
    store, read = Store(tmp_path), {}
    for corpus in (short, long, few):
        sample = sample_rows(corpus, None, 0, window_chars=4 * 64, n_tokens=6000)
        folder = encode_corpus(
            sample, tokenizer(), block_size=64, seq2seq=False, max_sequences=None, store=store,
            pack=False, n_tokens=6000,
        )  # fmt: skip
        read[corpus.name] = Encoded.load(folder).read
    assert 6000 <= read["short"] < 6064
    assert 6000 <= read["long"] < 6064
    assert read["few"] == encoded(ROWS[:3]).read
    assert len(list(sample_rows(short, 100, 0, 256, n_tokens=6000).rows)) == 100
