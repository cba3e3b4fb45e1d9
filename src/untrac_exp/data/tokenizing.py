"""Tokenize rows into token ids of context and target."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from untrac_exp.data.base import Row
from untrac_exp.data.rows import ANSWERS

END_TOKENS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>")
"""Candidate end-of-text tokens of a tokenizer without an `eos_token`."""
ROWS_A_CALL = 512
"""Rows per tokenizer call, so that corpora larger than memory can be streamed."""


class Pair(NamedTuple):
    """Token ids of a row's context and target; plain: whether it has no context."""

    input: list[int]
    target: list[int]
    plain: bool


@dataclass(frozen=True)
class Texts:
    """Token ids of a dataset's rows, with the start and end tokens of its tokenizer.

    seq2seq: whether context and target are tokenized separately. what: dataset name in errors.
    """

    pairs: Iterable[Pair]
    tokenizer: PreTrainedTokenizerBase
    seq2seq: bool
    what: str

    @cached_property
    def front(self) -> list[int]:
        """Token ids that the tokenizer puts before a text, such as a BOS token, or none."""
        whole, [text] = self.tokenizer("a")["input_ids"], _token_ids(self.tokenizer, ["a"])
        starts = range(len(whole) - len(text) + 1)
        return whole[: next((i for i in starts if whole[i : i + len(text)] == text), 0)]

    @cached_property
    def end(self) -> int:
        """Id of the end-of-text token; see `END_TOKENS` if the tokenizer defines none."""
        tokenizer = self.tokenizer
        special = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.sep_token_id)
        for token in chain(special, (tokenizer.get_vocab().get(name) for name in END_TOKENS)):
            if token is not None:
                return int(token)
        raise ValueError(
            "the tokenizer has no end-of-text token; set its eos_token and save it beside the "
            "model: tokenizer.eos_token = '...'; tokenizer.save_pretrained(model.path)"
        )


def tokenized(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, seq2seq: bool, what: str
) -> Texts:
    """Tokenize rows lazily; the result can be iterated once.

    For a causal model and a fast tokenizer, context and target are tokenized as one text; a token
    across their boundary belongs to the target. A row's chat is rendered by the tokenizer's chat
    template up to the answer; without a template its `input` is used.
    """
    return Texts(_pairs(rows, tokenizer, seq2seq, what), tokenizer, seq2seq, what)


def _pairs(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, seq2seq: bool, what: str
) -> Iterator[Pair]:
    numbered = enumerate(rows, 1)
    while chunk := list(islice(numbered, ROWS_A_CALL)):
        texts = [_texts(row, tokenizer, f"{what}: text {number}") for number, row in chunk]
        plain = [not row.input for _, row in chunk]
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
            # the first token that ends after the context
            beyond = (i for i, (_, stop) in enumerate(spans) if stop > len(context))
            border = next(beyond, len(spans)) if context else 0
            yield Pair(ids[:border], ids[border:], is_plain)


def _texts(row: Row, tokenizer: PreTrainedTokenizerBase, where: str) -> tuple[str, str]:
    """Return context and target of a row, after the chat template."""
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
            f"{where}: the tokenizer's chat template rejects it ({reason}); correct the row, or "
            "give the tokenizer another chat_template"
        ) from error
    rest = whole[len(context) :] if whole.startswith(context) else ""
    space = rest[: len(rest) - len(rest.lstrip())]  # some templates put it before an answer
    return context, space + row.target.lstrip()


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Return the token ids of each text, without special tokens."""
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
