"""Parse a record of a source (values by column) into a row.

The first non-empty of these columns determines the format:

- `messages`, a list of {role, content}: the last message of role `assistant` is scored and the
  messages before it are its context; later ones are ignored. ShareGPT's `conversations` of
  {from, value} are read alike.
- `completion`, with its context in `prompt`: both text, or both lists of messages.
- the text column: plain text.
- the target column, with its context in the input column: as completion and prompt.
- Alpaca's `output`, with its context in `instruction` and `input`.

A space is inserted between context and target if neither has one. The content of a message may be a
list of parts {type: text, text: ...}, which are joined. An answer without text, such as the call of
a tool, is not scored.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from untrac_exp.data.base import Row, Turn

ANSWERS = "assistant"
"""The role whose last message is scored."""
_SHARE_GPT = {"human": "user", "gpt": ANSWERS}
"""Roles of ShareGPT that have another name."""
_ALPACA = ("instruction", "input")

Record = tuple[str, Mapping[str, Any]]
"""(configuration key and position, for errors; values by column)."""


@dataclass(frozen=True)
class Columns:
    """Column names."""

    text: str = "text"
    input: str = "input"
    target: str = "target"
    messages: str = "messages"
    subset: str | None = None

    @property
    def scored(self) -> tuple[str, ...]:
        """Columns that determine the format, by precedence."""
        return self.messages, "conversations", "completion", self.text, self.target, "output"

    def known(self, names: Iterable[str]) -> list[str]:
        """Return those of `names` that may be read."""
        wanted = {*self.scored, "prompt", "instruction", self.input, self.subset or self.text}
        return [name for name in names if name in wanted]


@dataclass(frozen=True)
class Records(ABC):
    """Records of one place, read again on each call.

    Attributes:
        key: its configuration key, for errors.
        columns: what its columns are; of a table, no others are read.
    """

    key: str
    columns: Columns

    @property
    def size(self) -> int:
        """Size in bytes, as far as known."""
        return 0

    @property
    def n_pieces(self) -> int:
        """Number of pieces that can be read alone."""
        return 1

    @property
    def identity(self) -> object:
        """The same for all spellings of the place."""
        return self.key

    def digest(self) -> str | None:
        """Return what identifies the content; None if only the rows do."""
        return None

    @abstractmethod
    def records(self, index: int = 0, n: int = 1) -> Iterator[Record]:
        """Yield in order the records that begin in piece `index` of `n`."""


def subset_of(where: str, record: Mapping[str, Any], columns: Columns) -> str | None:
    """Return the name of a record's subset; None if it has none.

    JSON's `true` and `1` become "true" and "1".

    Raises:
        ValueError: the value is a float, whose text is ambiguous (1.50 and 1.5), or no scalar.
    """
    value = record.get(columns.subset or "")
    if value is None or value == "":
        return None
    if not isinstance(value, str | int):
        raise ValueError(
            f"{where}: column '{columns.subset}' holds {value!r}, which is not text; quote it: "
            f"'{value}'"
        )
    return value if isinstance(value, str) else json.dumps(value)


def parse(where: str, record: Mapping[str, Any], columns: Columns) -> Row | None:
    """Parse a record; return None if the text to score is empty, blank or null.

    Args:
        where: configuration key and position in the file, for errors.

    Raises:
        ValueError: no known column, or a value of the wrong type.
    """
    name = next((name for name in columns.scored if not _is_blank(record.get(name))), None)
    if name is None and any(name in record for name in columns.scored):
        return None
    is_alpaca = name == "output" != columns.target
    if name is None or (is_alpaca and "instruction" not in record):
        raise ValueError(
            f"{where} has no column '{columns.text}' or '{columns.target}' (nor 'completion' or "
            f"'{columns.messages}') but {list(record)}; set text_column, messages_column, or "
            "input_column and target_column"
        )
    value = record[name]
    if name == columns.text:
        return Row(_string(f"{where}: column '{name}' holds", value))
    if name in (columns.messages, "conversations"):
        return _conversation(where, _turns(where, name, value))
    context, before = columns.input, record.get(columns.input)
    if name == "completion":
        context, before = "prompt", record.get("prompt")
    elif is_alpaca:
        parts = [_string(f"{where}: column '{c}' holds", record.get(c)) for c in _ALPACA]
        before = "\n\n".join(filter(None, parts))
    if isinstance(value, list) and (before is None or isinstance(before, list)):
        turns = _turns(where, context, before or [])
        return _conversation(where, turns + _turns(where, name, value))
    if isinstance(value, list) or isinstance(before, list):
        raise ValueError(
            f"{where}: of the columns '{context}' and '{name}' one is text and one a list; make "
            "both text, or both lists of {role, content}"
        )
    before = _string(f"{where}: column '{context}' holds", before)
    target = _string(f"{where}: column '{name}' holds", value)
    if before and not before[-1].isspace() and not target[0].isspace():
        target = f" {target}"
    return Row(target, before)


def _is_blank(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _conversation(where: str, turns: tuple[Turn, ...]) -> Row | None:
    last = max((i for i, turn in enumerate(turns) if turn.role == ANSWERS), default=None)
    if last is None:
        roles = ", ".join(dict.fromkeys(turn.role for turn in turns))
        raise ValueError(
            f"{where}: no message has the role '{ANSWERS}' but {roles}; its last one is what is "
            "scored, so add one"
        )
    context, answer = turns[:last], turns[last].content
    if not answer.strip():
        return None
    return Row(answer, "".join(f"{turn.content}\n" for turn in context), context)


def _turns(where: str, column: str, messages: Any) -> tuple[Turn, ...]:
    if not isinstance(messages, list):
        raise ValueError(
            f"{where}: column '{column}' holds {type(messages).__name__}, not a list of messages; "
            "write [{role: user, content: ...}, ...]"
        )
    turns = []
    for number, message in enumerate(messages, 1):
        place = f"{where}: column '{column}', message {number}"
        if isinstance(message, Mapping) and isinstance(message.get("from"), str):
            role = _SHARE_GPT.get(message["from"], message["from"])
            message = {"role": role, "content": message.get("value")}
        is_mapping = isinstance(message, Mapping)
        role = message.get("role") if is_mapping else None
        if not isinstance(role, str) or ("content" not in message and role != ANSWERS):
            absent = "content" if isinstance(role, str) else "role"
            keys = list(message) if is_mapping else type(message).__name__
            raise ValueError(
                f"{place} has no {absent} but {keys}; write {{role: ..., content: ...}}"
            )
        turns.append(Turn(role, _content(place, message.get("content"))))
    return tuple(turns)


def _content(place: str, content: Any) -> str:
    if not isinstance(content, list):
        return _string(f"{place}: the content is", content)
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(
                f"{place} has a part of type {kind}; only text can be read, so leave the row out"
            )
    return "".join(part["text"] for part in content)


def _string(subject: str, value: Any) -> str:
    """Return a text, "" for null. subject: the beginning of the error about another value."""
    if not isinstance(value, str | None):
        raise ValueError(f"{subject} {type(value).__name__}, not text; make it a string")
    text = value or ""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise ValueError(f"{subject} {half}, half of a character; write the text again") from None
    return text
