"""From rows to token ids of contexts and targets; how a tokenizer starts and ends texts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from untrac_exp.data.base import Row
from untrac_exp.data.rows import ANSWERS

END_TOKENS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>")
"""Looked for in the vocabulary of a tokenizer without an `eos_token`."""
ROWS_A_CALL = 512
"""Rows handed to the tokenizer at once, so that a corpus larger than memory streams through."""


class Pair(NamedTuple):
    """The token ids of a row's context and of its target; plain: whether it has no context."""

    input: list[int]
    target: list[int]
    plain: bool


@dataclass(frozen=True)
class Texts:
    """The token ids of a dataset's rows, and how its tokenizer starts and ends a text.

    seq2seq: whether contexts and targets are read apart. what: names the dataset in errors.
    """

    pairs: Iterable[Pair]
    tokenizer: PreTrainedTokenizerBase
    seq2seq: bool
    what: str

    @cached_property
    def front(self) -> list[int]:
        """What the tokenizer puts before a text by itself: nothing, or its beginning token."""
        whole, [text] = self.tokenizer("a")["input_ids"], _token_ids(self.tokenizer, ["a"])
        starts = range(len(whole) - len(text) + 1)
        return whole[: next((i for i in starts if whole[i : i + len(text)] == text), 0)]

    @cached_property
    def end(self) -> int:
        """The end-of-text token; one of a usual name if the tokenizer does not say which it is."""
        tokenizer = self.tokenizer
        for token in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.sep_token_id):
            if token is not None:
                return int(token)
        words = tokenizer.get_vocab()
        for name in END_TOKENS:
            if name in words:
                return int(words[name])
        raise ValueError(
            "the tokenizer has no end-of-text token; set its eos_token and save it beside the "
            "model: tokenizer.eos_token = '...'; tokenizer.save_pretrained(model.path)"
        )


def tokenized(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, seq2seq: bool, what: str
) -> Texts:
    """Rows as token ids, computed as they are read, once.

    A causal model reads context and target as one text, so they are tokenized as one where the
    tokenizer can tell which characters a token stands for; a token across the border belongs to the
    target. The chat of a row is rendered by the tokenizer's chat template, up to where the answer
    begins; without a template its `input` is used. A fast tokenizer works on all cores.
    """
    return Texts(_pairs(rows, tokenizer, seq2seq, what), tokenizer, seq2seq, what)


def _pairs(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, seq2seq: bool, what: str
) -> Iterator[Pair]:
    number, iterator = 0, iter(rows)
    while chunk := list(islice(iterator, ROWS_A_CALL)):
        texts = [
            _texts(row, tokenizer, f"{what}: text {number + i + 1}") for i, row in enumerate(chunk)
        ]
        number += len(chunk)
        plain = [not row.input for row in chunk]
        if seq2seq or not tokenizer.is_fast or not any(context for context, _ in texts):
            sources = _token_ids(tokenizer, [context for context, _ in texts])
            targets = _token_ids(tokenizer, [target for _, target in texts])
            yield from map(Pair, sources, targets, plain)
            continue
        found = tokenizer(
            [context + target for context, target in texts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        for (context, _), ids, spans, is_plain in zip(
            texts, found["input_ids"], found["offset_mapping"], plain, strict=True
        ):
            border = _border(spans, len(context))
            yield Pair(ids[:border], ids[border:], is_plain)


def _border(spans: Sequence[tuple[int, int]], length: int) -> int:
    """The first token that reaches beyond the first `length` characters."""
    if length == 0:
        return 0
    return next((i for i, (_, stop) in enumerate(spans) if stop > length), len(spans))


def _texts(row: Row, tokenizer: PreTrainedTokenizerBase, where: str) -> tuple[str, str]:
    """The context and the target of a row as the model reads them."""
    if not row.chat or not tokenizer.chat_template:
        return row.input, row.target
    turns = [turn._asdict() for turn in row.chat]
    answer = {"role": ANSWERS, "content": row.target.strip()}
    try:
        context = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template([*turns, answer], tokenize=False)
    except (TemplateError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{where}: the tokenizer's chat template refuses it ({reason}); mend the row, or give "
            "the tokenizer another chat_template"
        ) from error
    rest = whole[len(context) :] if whole.startswith(context) else ""
    space = rest[: len(rest) - len(rest.lstrip())]  # that some templates put before an answer
    return context, space + row.target.lstrip()


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Of every text, without the tokens that mark its start and end."""
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
