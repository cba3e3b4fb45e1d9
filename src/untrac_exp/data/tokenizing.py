"""Tokenize rows into token ids of context and target."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice
from operator import add
from typing import NamedTuple

from jinja2 import TemplateError
from transformers import BatchEncoding, PreTrainedTokenizerBase

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
class Tokenization:
    """How the rows of a dataset become token ids.

    seq2seq: whether context and target are tokenized separately. what: dataset name in errors.
    counts: number of texts that were `cut`, and of those left out as `empty`.
    end_of_input: whether an encoder's input ends with the end-of-text token.
    """

    tokenizer: PreTrainedTokenizerBase
    seq2seq: bool
    what: str
    end_of_input: bool = True
    counts: Counter[str] = field(default_factory=Counter)

    @cached_property
    def front(self) -> list[int]:
        """Token ids that the tokenizer puts before a text, such as a BOS token, or none."""
        whole, [text] = self.tokenizer("a")["input_ids"], self._ids(["a"])["input_ids"]
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

    def pairs(self, rows: Iterable[Row]) -> Iterator[Pair]:
        """Tokenize rows lazily.

        For a causal model and a fast tokenizer, context and target are tokenized as one text; a
        token across their boundary belongs to the target. A row's chat is rendered by the
        tokenizer's chat template up to the answer; without a template its `input` is used.
        """
        numbered = enumerate(rows, 1)
        while chunk := list(islice(numbered, ROWS_A_CALL)):
            plain = [not row.input for _, row in chunk]
            contexts, targets = zip(*(self._rendered(n, row) for n, row in chunk), strict=True)
            if self.seq2seq or not self.tokenizer.is_fast or not any(contexts):
                sources = self._ids(contexts)["input_ids"]
                yield from map(Pair, sources, self._ids(targets)["input_ids"], plain)
                continue
            encoded = self._ids(map(add, contexts, targets), return_offsets_mapping=True)
            for context, ids, spans, is_plain in zip(
                contexts, encoded["input_ids"], encoded["offset_mapping"], plain, strict=True
            ):
                # the first token that ends after the context
                after = (i for i, (_, stop) in enumerate(spans) if stop > len(context))
                border = next(after, len(spans)) if context else 0
                yield Pair(ids[:border], ids[border:], is_plain)

    def _ids(self, texts: Iterable[str], **options: bool) -> BatchEncoding:
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False, **options)

    def _rendered(self, number: int, row: Row) -> tuple[str, str]:
        """Return context and target of the row of this number, after the chat template."""
        if not row.chat or not self.tokenizer.chat_template:
            return row.input, row.target
        turns = [turn._asdict() for turn in row.chat]
        answer = {"role": ANSWERS, "content": row.target.strip()}
        render = partial(self.tokenizer.apply_chat_template, tokenize=False)
        try:
            context, whole = render(turns, add_generation_prompt=True), render([*turns, answer])
        except (TemplateError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{self.what}: text {number}: the tokenizer's chat template rejects it ({reason}); "
                "correct the row, or give the tokenizer another chat_template"
            ) from error
        rest = whole[len(context) :] if whole.startswith(context) else ""
        space = rest[: len(rest) - len(rest.lstrip())]  # some templates put it before an answer
        return context, space + row.target.lstrip()
