"""Encoding by tokenizers of four kinds, against what each does itself."""

import logging

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from untrac_exp.data.base import Corpus, Row, Turn
from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.data.fingerprint import tokenizer_fingerprint
from untrac_exp.data.packing import packed
from untrac_exp.data.prepare import encode, encode_corpus
from untrac_exp.data.tokenizing import Tokenization
from untrac_exp.store import Store

TEXTS = ["the old grolk sold a lantern to the miller", "who sold it? the grolk sold it", "a b c"]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CHAT = Row("the grolk", "be brief\nwho?\n", (Turn("system", "be brief"), Turn("user", "who?")))
QUESTION = Row(" the grolk sold it", "who sold it?")


def trained(model, trainer, pre, **parts):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    return tokenizer


def byte_level():
    """GPT-2's kind: bytes, an end-of-text token and no other."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    pre = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = trained(models.BPE(), trainer, pre, decoder=decoders.ByteLevel())
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")


def word_piece():
    """BERT's kind: [CLS] before a text, [SEP] after it, no other."""
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    trainer = trainers.WordPieceTrainer(
        vocab_size=80, special_tokens=[*special.values()], show_progress=False
    )
    pre = pre_tokenizers.BertPreTokenizer()
    made = trained(models.WordPiece(unk_token="[UNK]"), trainer, pre)
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def unigram():
    """LLaMA's and Gemma's kind: <s> before a text, and spaces as part of words."""
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=[*special.values()], unk_token="<unk>", show_progress=False
    )
    pre = pre_tokenizers.Metaspace(prepend_scheme="always")
    made = trained(models.Unigram(), trainer, pre, decoder=decoders.Metaspace())
    start = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.post_processor = start
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def bare(*words):
    """No special token at all."""
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["a", "b", *words])}, "a"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made)


KINDS = {"byte_level": byte_level, "word_piece": word_piece, "unigram": unigram}
STARTS = {"byte_level": "</s>", "word_piece": "[CLS]", "unigram": "<s>"}
ENDS = {"byte_level": "</s>", "word_piece": "[SEP]", "unigram": "</s>"}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def tokenizer(kind):
    return KINDS[kind]()


def pack(rows, tokenizer, block_size):
    return packed(rows, Tokenization(tokenizer, False, "x"), block_size, None)


def scored(data, i):
    return [token for token in data.labels[i].tolist() if token != IGNORED]


def token_ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_row_is_one_text_after_the_tokens_start_of_which_the_answer_is_scored(kind, tokenizer):
    data = encode([QUESTION, Row("a b c")], tokenizer, 64, False, "x")
    start = tokenizer.convert_tokens_to_ids(STARTS[kind])
    whole = token_ids(tokenizer, QUESTION.input + QUESTION.target)
    assert data.input_ids[0, : data.lengths[0]].tolist() == [start, *whole]
    assert tokenizer.decode(scored(data, 0)).strip() == QUESTION.target.strip()
    context = whole[: len(whole) - len(scored(data, 0))]
    assert tokenizer.decode(context).replace(" ", "") == QUESTION.input.replace(" ", "")
    plain = token_ids(tokenizer, "a b c")
    assert scored(data, 1) == plain
    assert data.input_ids[1, : data.lengths[1]].tolist() == [start, *plain]


def test_a_token_across_the_border_belongs_to_the_answer():
    tokenizer = byte_level()
    data = encode([Row("grolk", "the ")], tokenizer, 64, False, "x")
    assert tokenizer.decode(scored(data, 0)) == " grolk"


def test_seq2seq_ends_both_sides_and_starts_them_as_the_tokenizer_does(kind, tokenizer):
    data = encode([QUESTION], tokenizer, 64, True, "x")
    end = tokenizer.convert_tokens_to_ids(ENDS[kind])
    start = [] if kind == "byte_level" else [tokenizer.convert_tokens_to_ids(STARTS[kind])]
    for text, ids in ((QUESTION.input, data.input_ids), (QUESTION.target, data.labels)):
        plain = token_ids(tokenizer, text)
        assert ids[0].tolist() == [*start, *plain, end]


def test_blocks_join_texts_by_their_end_and_begin_as_texts_do(kind, tokenizer):
    data = pack([Row(text) for text in TEXTS], tokenizer, 8)
    end = tokenizer.convert_tokens_to_ids(ENDS[kind])
    start = tokenizer.convert_tokens_to_ids(STARTS[kind])
    stream = [t for text in TEXTS for t in [*token_ids(tokenizer, text), end]]
    assert data.input_ids.shape[1] == 8
    skipped = 0 if kind == "byte_level" else 1
    assert data.input_ids[:, skipped:].flatten().tolist() == stream[: len(data) * (8 - skipped)]
    assert skipped == 0 or set(data.input_ids[:, 0].tolist()) == {start}
    assert data.scored.tolist() == [7] * len(data)


# ------------------------------------------------------------------------- what a tokenizer lacks
def test_an_end_that_only_the_vocabulary_tells_is_found():
    data = encode([Row("b a")], bare("</s>", "<|endoftext|>"), 8, False, "x")
    assert data.input_ids.tolist() == [[3, 1, 0]]


@pytest.mark.parametrize("seq2seq", [False, True])
def test_no_end_at_all_is_one_line_with_the_remedy(seq2seq):
    for run in (encode, lambda rows, t, size, *_: pack(rows, t, size)):
        with pytest.raises(ValueError, match=r"no end-of-text token; set its eos_token and save"):
            run([Row("b a")], bare(), 8, seq2seq, "x")


def test_rows_without_a_token_are_left_out_where_examples_need_no_number(caplog):
    """Of a tokenizer for which a text of zeros is nothing."""
    blind, rows = bare("</s>"), [Row("a b"), Row("00"), Row("b"), Row("0")]
    blind.backend_tokenizer.normalizer = normalizers.Replace("0", "")
    with pytest.raises(ValueError, match="text 2 has no token to score"):
        encode(rows, blind, 8, False, "x")
    with caplog.at_level(logging.INFO):
        data = encode(rows, blind, 8, False, "x", skip_empty=True)
    assert data.input_ids.tolist() == [[2, 0, 1], [2, 1, 0]]
    assert caplog.messages == ["x: 2 texts without a token to score are skipped"]
    with pytest.raises(ValueError, match="x has no texts to score; add at least one"):
        encode(rows[1:2], blind, 8, False, "x", skip_empty=True)


# ---------------------------------------------------------------------------------- chat templates
def test_a_chat_is_rendered_up_to_the_answer(tokenizer):
    """Without a template it is its lines; other rows are never rendered."""
    rows = [QUESTION, CHAT]
    plain = encode(rows, tokenizer, 64, False, "x")
    assert plain.input_ids[1, 1 : plain.lengths[1]].tolist() == token_ids(
        tokenizer, "be brief\nwho?\nthe grolk"
    )
    mark = tokenizer_fingerprint(tokenizer)
    tokenizer.chat_template = TEMPLATE
    assert tokenizer_fingerprint(tokenizer) != mark
    text = "<system>be brief\n<user>who?\n<assistant>the grolk"
    data = encode(rows, tokenizer, 64, False, "x")
    assert scored(data, 0) == scored(plain, 0)
    assert data.input_ids[1, 1 : data.lengths[1]].tolist() == token_ids(tokenizer, text)
    assert tokenizer.decode(scored(data, 1)).strip(" >") == "the grolk"
    asked = token_ids(tokenizer, text.removesuffix("the grolk"))
    read = encode([CHAT], tokenizer, 64, True, "x").input_ids[0].tolist()
    assert read[-len(asked) - 1 : -1] == asked


def test_a_start_that_the_template_writes_is_not_written_twice():
    tokenizer = unigram()
    tokenizer.chat_template = "<s>" + TEMPLATE
    data = encode([CHAT], tokenizer, 64, False, "x")
    assert data.input_ids[0].tolist().count(tokenizer.bos_token_id) == 1
    assert data.input_ids[0, 0] == tokenizer.bos_token_id


def test_a_space_that_the_template_puts_before_an_answer_is_part_of_it():
    tokenizer = byte_level()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
        "{% else %} {{ m['content'] }}{% endif %}{% endfor %}"
    )
    row = Row("the grolk", "who?\n", (Turn("user", "who?"),))
    data = encode([row], tokenizer, 64, False, "x")
    assert tokenizer.decode(scored(data, 0)) == " the grolk"
    assert tokenizer.decode(data.input_ids[0, 1:]) == "[INST] who? [/INST] the grolk"


def test_what_a_template_refuses_is_one_line():
    tokenizer = byte_level()
    tokenizer.chat_template = "{{ raise_exception('System role not\n supported') }}"
    with pytest.raises(ValueError, match=r"test set 't': text 2: .*template rejects it") as caught:
        encode([QUESTION, CHAT], tokenizer, 64, False, "test set 't'")
    assert "(System role not supported)" in str(caught.value)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------- cut and left out
def test_what_does_not_fit_is_cut_and_counted_in_one_line(caplog):
    tokenizer = byte_level()
    with caplog.at_level(logging.INFO):
        data = encode([Row("a b c"), QUESTION, QUESTION], tokenizer, 6, False, "test set 't'")
    assert caplog.messages == ["test set 't': 2 of 3 texts cut to 6 tokens"]
    assert data.lengths.tolist()[1:] == [6, 6]


# --------------------------------------------------------------------------------- mixed corpora
def prepared(rows, tokenizer, tmp_path, **other):
    folder = encode_corpus(
        Corpus("c", rows), tokenizer, store=Store(tmp_path / "store"),
        **{"block_size": 8, "seq2seq": False, "max_sequences": None, **other},
    )  # fmt: skip
    return Encoded.load(folder)


def test_plain_texts_of_a_mixed_corpus_are_packed_and_the_others_stand_alone(tmp_path):
    tokenizer = byte_level()
    mixed = [QUESTION, Row(TEXTS[0]), CHAT, Row(TEXTS[1])]
    blocks = pack([Row(TEXTS[0]), Row(TEXTS[1])], tokenizer, 8)
    alone = encode([QUESTION, CHAT], tokenizer, 8, False, "x")
    data = prepared(mixed, tokenizer, tmp_path)
    assert data.input_ids.tolist() == [*blocks.input_ids.tolist(), *alone.input_ids.tolist()]
    assert data.labels.tolist() == [*blocks.labels.tolist(), *alone.labels.tolist()]
    assert len(prepared(mixed, tokenizer, tmp_path, max_sequences=3)) == 3


def test_a_few_plain_texts_among_others_stand_alone_too(tmp_path):
    tokenizer = byte_level()
    mixed = [QUESTION, Row("a"), CHAT]
    data = prepared(mixed, tokenizer, tmp_path, block_size=64)
    assert data.input_ids.tolist() == encode(mixed, tokenizer, 64, False, "x").input_ids.tolist()
    with pytest.raises(ValueError, match="do not fill one block of 64"):
        prepared([Row("a")], tokenizer, tmp_path, block_size=64)
    seq2seq = prepared(mixed, tokenizer, tmp_path, seq2seq=True)
    assert seq2seq.labels.tolist() == encode(mixed, tokenizer, 8, True, "x").labels.tolist()


def test_conversations_with_the_same_text_are_told_apart_in_the_store(tmp_path):
    tokenizer = byte_level()
    tokenizer.chat_template = TEMPLATE
    other = CHAT._replace(chat=(Turn("user", "be brief"), Turn("user", "who?")))
    a = prepared([CHAT], tokenizer, tmp_path, block_size=64)
    b = prepared([other], tokenizer, tmp_path, block_size=64)
    assert a.input_ids.tolist() != b.input_ids.tolist()
