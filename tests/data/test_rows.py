"""Records of every format, beside each other in one file, and what people write instead."""

import json
import logging

import pandas
import pytest

from untrac_exp.data.base import Row, Turn
from untrac_exp.data.rows import Columns, parse
from untrac_exp.data.sources import local


def message(role, content):
    return {"role": role, "content": content}


ASKED, ANSWERED = message("user", "who?"), message("assistant", "me")
RULE = message("system", "be brief")
CHAT = Row("me", "be brief\nwho?\n", (Turn("system", "be brief"), Turn("user", "who?")))
PARTS = [{"type": "text", "text": "wh"}, {"type": "text", "text": "o?"}]

FORMATS = {
    "text": ({"text": "x"}, Row("x")),
    "target": ({"input": "who?", "target": "me"}, Row(" me", "who?")),
    "completion": ({"prompt": "who?", "completion": " me"}, Row(" me", "who?")),
    "completion alone": ({"completion": "me"}, Row("me")),
    "messages": ({"messages": [RULE, ASKED, ANSWERED]}, CHAT),
    "prompt messages": ({"prompt": [RULE, ASKED], "completion": [ANSWERED]}, CHAT),
    "target messages": ({"input": [RULE, ASKED], "target": [ANSWERED]}, CHAT),
    "completion messages": ({"completion": [RULE, ASKED, ANSWERED]}, CHAT),
    "parts": ({"messages": [RULE, message("user", PARTS), ANSWERED]}, CHAT),
    "null content": (
        {"messages": [message("assistant", None), ANSWERED]},
        Row("me", "\n", (Turn("assistant", ""),)),
    ),
    "a user has the last word": ({"messages": [RULE, ASKED, ANSWERED, ASKED]}, CHAT),
    "two answers": (
        {"messages": [ASKED, ANSWERED, ASKED, ANSWERED]},
        Row("me", "who?\nme\nwho?\n", (*CHAT.chat[1:], Turn("assistant", "me"), *CHAT.chat[1:])),
    ),
    "no context": ({"messages": [ANSWERED]}, Row("me")),
    "messages before text": ({"text": "x", "messages": [RULE, ASKED, ANSWERED]}, CHAT),
    "completion before text": ({"text": "x", "completion": "me"}, Row("me")),
    "text before target": ({"text": "x", "target": "y"}, Row("x")),
    "null before text": ({"messages": None, "completion": "", "text": "x"}, Row("x")),
    "ShareGPT": (
        {"conversations": [{"from": "system", "value": "be brief"},
                           {"from": "human", "value": "who?"}, {"from": "gpt", "value": "me"}]},
        CHAT,
    ),
    "Alpaca": (
        {"instruction": "Name it.", "input": "who?", "output": "me"},
        Row(" me", "Name it.\n\nwho?"),
    ),
    "Alpaca without an input": (
        {"instruction": "Name it.", "input": "", "output": "me"}, Row(" me", "Name it."),
    ),
    "a tool call": (
        {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
        None,
    ),
    "a tool call without content": (
        {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"id": "1"}]}]}, None,
    ),
    "a tool call on the way": (
        {"messages": [ASKED, {"role": "assistant", "tool_calls": [{}]}, ANSWERED]},
        Row("me", "who?\n\n", (Turn("user", "who?"), Turn("assistant", ""))),
    ),
    "empty": ({"prompt": "who?", "completion": " "}, None),
    "empty answer": ({"messages": [ASKED, message("assistant", "")]}, None),
    "no messages": ({"messages": []}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_one_row(name):
    record, row = FORMATS[name]
    assert parse("here", record, Columns()) == row


def test_one_file_may_mix_formats_and_rows_with_nothing_to_score_are_counted(tmp_path, caplog):
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record, _ in FORMATS.values()))
    expected = [row for _, row in FORMATS.values() if row is not None]
    with caplog.at_level(logging.INFO):
        [corpus] = local.corpora({"mixed": str(path)})
        assert list(corpus.rows) == expected
        [testset] = local.testsets({"mixed": str(path)})
    assert testset.subsets == {"all": expected}
    assert [record.getMessage() for record in caplog.records] == [
        "corpora.paths.mixed: 5 rows without text to score are skipped",
        "testset.paths.mixed: 5 rows without text to score are skipped",
    ]


def test_parquet_and_json_hold_the_same_conversations(tmp_path):
    records = [{"messages": [RULE, ASKED, ANSWERED]}, {"messages": [ASKED, ANSWERED]}]
    frame = pandas.DataFrame(records)
    frame.to_parquet(tmp_path / "chat.parquet")
    frame.to_json(tmp_path / "chat.jsonl", orient="records", lines=True)
    a, b = local.corpora({s: str(tmp_path / f"chat.{s}") for s in ("parquet", "jsonl")})
    assert list(a.rows) == list(b.rows)
    assert next(iter(a.rows)) == CHAT


BAD = {
    "no assistant": ({"messages": [RULE, ASKED]}, "no message has the role 'assistant' but system"),
    "other keys": (
        {"conversations": [{"by": "human", "text": "who?"}, {"by": "gpt", "text": "me"}]},
        r"'conversations', message 1 has no role but \['by', 'text'\]; write {role",
    ),
    "half of a character": ({"text": "x\ud800y"}, r"'text' holds '\\ud800', half of a character"),
    "no content": ({"messages": [{"role": "user", "text": "x"}]}, "message 1 has no content but"),
    "a number": ({"messages": [message("user", 7)]}, "message 1: the content is int, not text"),
    "a picture": (
        {"messages": [message("user", [{"type": "image_url", "image_url": "x"}]), ANSWERED]},
        "message 1 has a part of type image_url; only text can be read",
    ),
    "a part without type": ({"messages": [message("user", ["x"])]}, "a part of type str"),
    "a role that is none": ({"messages": [message(1, "x")]}, "message 1 has no role but"),
    "a string for messages": ({"messages": "who?"}, "column 'messages' holds str, not a list"),
    "strings in messages": ({"messages": ["who?"]}, "message 1 has no role but str"),
    "half a list": ({"prompt": "x", "completion": [ANSWERED]}, "'prompt' and 'completion' one is"),
    "half a text": ({"prompt": [ASKED], "completion": "me"}, "make both text, or both lists"),
    "a number for a completion": ({"prompt": "x", "completion": 3}, "'completion' holds int"),
    "a number for a prompt": ({"prompt": 3, "completion": "x"}, "'prompt' holds int, not text"),
    "a mapping": ({"input": "x", "target": {"a": 1}}, "'target' holds dict, not text"),
    "another column": ({"body": "x"}, r"no column 'text' or 'target' .*\['body'\]; set text_col"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_row_is_named_in_one_line(tmp_path, name):
    record, says = BAD[name]
    path = tmp_path / "chat.jsonl"
    path.write_text('{"text": "fine"}\n' + json.dumps(record))
    column = "conversations" if "conversations" in record else "messages"
    [corpus] = local.corpora({"forum": str(path)}, messages_column=column)
    with pytest.raises(ValueError, match=says) as caught:
        list(corpus.rows)
    assert str(caught.value).startswith(f"corpora.paths.forum: {path} line 2")
    assert "\n" not in str(caught.value)
