"""Parse a record of a source (values by column) into a row.

The first non-empty of these columns determines the format:

- `messages`, a list of {role, content}: the last message of role `assistant` is scored and the
  messages before it are its context; later ones are ignored.
- `completion`, with its context in `prompt`: both text, or both lists of messages.
- the text column: plain text.
- the target column, with its context in the input column: as completion and prompt.

A space is inserted between context and target if neither has one. The content of a message may be a
list of parts {type: text, text: ...}, which are joined.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from untrac_exp.data.base import Row, Turn

ANSWERS = "assistant"
"""The role whose last message is scored."""


@dataclass(frozen=True)
class Columns:
    """Column names.

    chat_template: treat a text context as a user message and render it by the tokenizer's chat
    template; else it precedes the target verbatim.
    """

    text: str = "text"
    input: str = "input"
    target: str = "target"
    messages: str = "messages"
    subset: str | None = None
    chat_template: bool = False

    @property
    def pairs(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """(context, target) columns."""
        return ("prompt", "completion"), (self.input, self.target)

    @property
    def scored(self) -> tuple[str, ...]:
        """Columns that determine the format, by precedence."""
        (_, completion), (_, target) = self.pairs
        return self.messages, completion, self.text, target

    @property
    def names(self) -> set[str]:
        """All columns that may be read."""
        return {*self.scored, *(context for context, _ in self.pairs), self.subset or self.text}


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
        record: values by column.
        columns: the column names.

    Raises:
        ValueError: no known column, or a value of the wrong type.
    """
    if not any(name in record for name in columns.scored):
        raise ValueError(
            f"{where} has no column '{columns.text}' or '{columns.target}' (nor 'completion' or "
            f"'{columns.messages}') but {list(record)}; set text_column, messages_column, or "
            "input_column and target_column"
        )
    name = next((name for name in columns.scored if not _is_blank(record.get(name))), None)
    if name is None:
        return None
    if name == columns.text:
        return Row(_string(where, record, name))
    if name == columns.messages:
        return _conversation(where, _turns(where, record, name))
    context = next(context for context, scored in columns.pairs if scored == name)
    return _pair(where, record, context, name, columns.chat_template)


def _is_blank(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _pair(
    where: str, record: Mapping[str, Any], context: str, target: str, chat_template: bool
) -> Row | None:
    lists = isinstance(record[target], list), isinstance(record.get(context), list)
    if lists == (True, True) or (lists[0] and record.get(context) is None):
        turns = _turns(where, record, context) if lists[1] else ()
        return _conversation(where, turns + _turns(where, record, target))
    if any(lists):
        raise ValueError(
            f"{where}: of the columns '{context}' and '{target}' one is text and one a list; make "
            "both text, or both lists of {role, content}"
        )
    before, scored = _string(where, record, context), _string(where, record, target)
    if before and not before[-1].isspace() and not scored[0].isspace():
        scored = f" {scored}"
    return Row(scored, before, (Turn("user", before),) if before and chat_template else ())


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


def _turns(where: str, record: Mapping[str, Any], column: str) -> tuple[Turn, ...]:
    messages = record[column]
    if not isinstance(messages, list):
        raise ValueError(
            f"{where}: column '{column}' holds {type(messages).__name__}, not a list of messages; "
            "write [{role: user, content: ...}, ...]"
        )
    turns = []
    for number, message in enumerate(messages, 1):
        place = f"{where}: column '{column}', message {number}"
        keys = list(message) if isinstance(message, Mapping) else type(message).__name__
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(f"{place} has no role but {keys}; write {{role: ..., content: ...}}")
        if "content" not in message:
            raise ValueError(
                f"{place} has no content but {keys}; write {{role: ..., content: ...}}"
            )
        turns.append(Turn(message["role"], _content(place, message["content"])))
    return tuple(turns)


def _content(place: str, content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError(
            f"{place}: the content is {type(content).__name__}, not text; make it a string"
        )
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(
                f"{place} has a part of type {kind}; only text can be read, so leave the row out"
            )
        texts.append(part["text"])
    return "".join(texts)


def _string(where: str, record: Mapping[str, Any], column: str) -> str:
    value = record.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(
            f"{where}: column '{column}' holds {type(value).__name__}, not text; make it a string"
        )
    return value
