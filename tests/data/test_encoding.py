"""Encoding against tokenizers' own answers, and the invariants that losses rely on."""

from itertools import islice

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.trace_checkpoints import tokenizer
from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.encoding import IGNORED, Encoded, pad
from untrac_exp.data.order import batches, epochs
from untrac_exp.data.packing import PREFIX, packed
from untrac_exp.data.prepare import encode, encode_corpus
from untrac_exp.data.sampling import sample_rows
from untrac_exp.data.tokenizing import ROWS_A_CALL, Tokenization
from untrac_exp.models.loss import example_losses
from untrac_exp.store import Store

WORDS = ["</s>", *"abcdefghij"]
END = 0


@pytest.fixture
def letters():
    """A tokenizer of one token a letter, `</s>` being 0, a 1, b 2 ..."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def pack(rows, tokenizer, block_size, max_blocks, what, seed=0):
    return packed(rows, Tokenization(tokenizer, False, what), block_size, max_blocks, seed)


def test_pack_joins_texts_with_the_end_token_and_drops_the_tail(letters):
    data = pack([Row("abc"), Row("de"), Row("fghij")], letters, 4, None, "x")
    assert data.input_ids.tolist() == [[1, 2, 3, END], [4, 5, END, 6], [7, 8, 9, 10]]
    assert torch.equal(data.labels, data.input_ids)
    assert data.lengths.tolist() == [4, 4, 4]
    assert data.scored.tolist() == [3, 3, 3], "the first token of a block has no context"


def numbered(n):
    """Texts of three digits each, which with their end fill a block of four: the i-th is i."""
    return [Row("".join(WORDS[1 + int(d)] for d in f"{i:03d}")) for i in range(n)]


def numbers(data):
    return [int("".join(str(t - 1) for t in row[:3])) for row in data.input_ids.tolist()]


def test_pack_cut_down_gives_late_text_its_share(letters):
    """Twenty blocks of 320, many times: as many of the last quarter as of the first."""
    drawn = [n for seed in range(60) for n in numbers(_cut(letters, 320, seed))]
    counts = [sum(80 * q <= n < 80 * (q + 1) for n in drawn) for q in range(4)]
    assert sum(counts) == 60 * 20
    assert all(abs(count - 300) < 4 * (1200 * 3 / 16) ** 0.5 for count in counts)
    assert len(set(drawn)) > 300


def _cut(letters, n, seed=0, blocks=20):
    return pack(numbered(n), letters, 4, blocks, "x", seed)


def test_pack_cut_down_is_set_by_its_seed(letters):
    assert numbers(_cut(letters, 320)) == numbers(_cut(letters, 320))
    assert set(numbers(_cut(letters, 320))) != set(numbers(_cut(letters, 320, seed=1)))
    assert len(set(numbers(_cut(letters, 320)))) == 20
    assert numbers(_cut(letters, 15)) == list(range(15))


def test_pack_cut_down_reads_a_bounded_part(letters):
    read = []

    def rows():
        for row in numbered(1000) * 10:
            read.append(row)
            yield row

    data = pack(rows(), letters, 4, 8, "x")
    assert len(data) == 8
    assert max(numbers(data)) < PREFIX * 8
    assert len(read) <= ROWS_A_CALL


def test_rows_with_a_context_keep_their_share_of_a_corpus_cut_down(letters, tmp_path):
    """Half of the rows; then about half of what is kept, not sixteen times as many."""
    rows = [r for row in numbered(1000) for r in (row, Row(row.target, input="abc"))]
    path = encode_corpus(
        Corpus("x", rows), letters, block_size=8, seq2seq=False, max_sequences=60,
        store=Store(tmp_path),
    )  # fmt: skip
    contexts = int((Encoded.load(path).labels[:, 1:4] == IGNORED).all(1).sum())
    assert 25 < contexts < 55  # two plain texts a block, so two thirds


def test_only_the_target_is_scored_and_its_first_token_too(letters):
    data = encode([Row("bc", input="a"), Row("d")], letters, 8, False, "x")
    assert data.input_ids[0, :4].tolist() == [END, 1, 2, 3]
    assert data.labels[0, :4].tolist() == [IGNORED, IGNORED, 2, 3]
    assert data.labels[1, :2].tolist() == [IGNORED, 4]
    assert data.scored.tolist() == [2, 1]


def test_a_long_input_is_cut_on_its_left_and_the_target_is_kept(letters):
    data = encode([Row("hij", input="abcdefg")], letters, 6, False, "x")
    assert data.input_ids[0].tolist() == [END, 6, 7, 8, 9, 10]
    assert data.scored.tolist() == [3]


def test_seq2seq_reads_the_input_and_scores_the_target_with_its_end(letters):
    data = encode([Row("de", input="abc")], letters, 8, True, "x")
    assert data.input_ids.tolist() == [[1, 2, 3, END]]
    assert data.labels.tolist() == [[4, 5, END]]
    assert data.scored.tolist() == [3]
    assert data.read == 4 + 3


def test_batches_cover_every_example_once_within_the_budget():
    lengths = [5, 1, 4, 2, 3, 7, 1]
    data = pad([[1] * n for n in lengths], [[1] * n for n in lengths], False)
    seen = []
    for indices, batch in data.batches(6):
        seen += indices.tolist()
        assert batch["input_ids"].numel() <= 6 or len(indices) == 1
        assert batch["attention_mask"].sum(1).tolist() == [lengths[i] for i in indices]
    assert sorted(seen) == list(range(7))
    assert [lengths[i] for i in seen] == sorted(lengths)


def test_a_sample_is_set_by_its_seed_alone_and_has_no_repeats():
    data = pad([[i] for i in range(50)], [[i] for i in range(50)], False)
    a, b, c = data.sample(20, 3), data.sample(20, 3), data.sample(20, 4)
    assert torch.equal(a.input_ids, b.input_ids)
    assert not torch.equal(a.input_ids, c.input_ids)
    assert len(set(a.input_ids.flatten().tolist())) == 20
    assert data.sample(None, 0) is data
    assert data.sample(99, 0) is data


def test_concatenation_keeps_every_example_whatever_the_widths():
    short, long = pad([[1]], [[1]], False), pad([[2, 3, 4]], [[2, 3, 4]], False)
    both = Encoded.concatenate([short, long])
    assert both.lengths.tolist() == [1, 3]
    assert both.batch(torch.tensor([0]))["input_ids"].tolist() == [[1]]
    assert both.batch(torch.tensor([1]))["labels"].tolist() == [[2, 3, 4]]
    assert both.scored.tolist() == [0, 2]


# ------------------------------------------------------------------------- The order of a mixture
def test_every_epoch_is_a_permutation_of_its_own():
    order = list(islice(epochs(20, seed=1), 40))
    assert sorted(order[:20]) == sorted(order[20:]) == list(range(20))
    assert order[:20] != order[20:]


def test_leaving_out_a_corpus_keeps_the_order_of_the_rest():
    keep = torch.ones(20, dtype=torch.bool)
    keep[5:10] = False
    full = list(islice(epochs(20, seed=1), 20))
    left = list(islice(epochs(20, seed=1, keep=keep), 15))
    assert left == [i for i in full if not 5 <= i < 10]


def test_skipping_is_as_if_the_batches_had_been_drawn():
    drawn = list(islice(batches(10, 3, seed=2), 9))
    resumed = list(islice(batches(10, 3, seed=2, skip=4), 5))
    assert all(torch.equal(a, b) for a, b in zip(drawn[4:], resumed, strict=True))


def test_a_batch_larger_than_the_data_is_all_of_it_once():
    batch = next(batches(7, 256, seed=0))
    assert sorted(batch.tolist()) == list(range(7))


# ----------------------------------------------- Samples by tokens: as large as asked, and nested
NAMES = "city river founded population century lol noob flame".split()
TEXTS = [" ".join(NAMES[(i * k + k) % 8] for k in range(1 + i % 17)) for i in range(60)]
ROWS = [Row(text) for text in TEXTS]
WITH_CONTEXT = [Row(text, " ".join(NAMES[: i % 9])) for i, text in enumerate(TEXTS)]


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
    short = Corpus("short", [Row(f"{NAMES[i % 8]} {i}") for i in range(5000)])
    long = Corpus(
        "long", [Row(" ".join(NAMES[(i + k) % 8] for k in range(900))) for i in range(40)]
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


def test_reading_by_length_pads_to_the_longest_of_a_batch_and_changes_no_loss():
    torch.manual_seed(0)
    lengths = torch.randint(2, 60, (50,), dtype=torch.int32)
    ids = torch.randint(0, 90, (50, 512), dtype=torch.int32)
    labels = ids.masked_fill(torch.arange(512) >= lengths[:, None], IGNORED)
    data = Encoded(ids, labels, lengths)
    config = AutoConfig.for_model(
        "opt", vocab_size=90, hidden_size=16, word_embed_proj_dim=16, ffn_dim=32,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    padded = read = 0
    for indices, batch in data.batches(256):
        assert batch["input_ids"].shape[1] == int(lengths[indices].max())
        padded += batch["input_ids"].numel()
        read += len(indices)
    assert read == 50
    assert padded < 1.25 * data.read  # of 512 tokens a text it would be 17 times as many
    found = example_losses(model, data, 256)
    with torch.no_grad():
        for i, n in enumerate(lengths.tolist()):
            alone = model(ids[i : i + 1, :n].long(), labels=ids[i : i + 1, :n].long()).loss
            assert float(found.nll[i]) == pytest.approx(float(alone) * (n - 1), rel=1e-5)
