"""SimpleTool's heads: one for the name and one for each argument by its place, for one call after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from finetune.layouts import ARGUMENT_HEADS, rows_in_layout, simpletool_lessons
from finetune.rows import Lesson
from grammars.conversation import Conversation, Message
from grammars.marks import Marks
from grammars.tools import Tool, ToolCall
from serving.engines.byte_tokenizer import ByteTokenizer

TOKENIZER = ByteTokenizer()
MARKS = Marks(tally="", outline="", call="<|im_start|>", arguments="<|im_end|>")
"""The marks have to be tokens of the vocabulary, and these are all that it has."""

FERRY = Tool(
    name="ferry",
    parameters={
        "type": "object",
        "properties": {"to": {"type": "string"}, "cars": {"type": "integer"}, "night": {"type": "boolean"}},
    },
)
TIDE = Tool(name="tide")


def heads(*calls: ToolCall, tools: Sequence[Tool] = (FERRY, TIDE)) -> list[str]:
    conversation = Conversation.read([Message(role="user", text="x")], tools)
    return [
        TOKENIZER.decode(lesson.suffix) + "|" + TOKENIZER.decode(lesson.written)
        for lesson in simpletool_lessons(conversation, calls, MARKS, TOKENIZER)
    ]


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id="1", name=name, arguments=arguments)


def test_a_call_is_a_head_for_its_name_and_one_for_each_argument_by_its_place() -> None:
    assert heads(call("ferry", night=True, to="Oslo")) == [
        "<|im_start|>|ferry<|im_end|>",
        "<|im_start|>|Oslo<|im_end|>",
        "<|im_start|>|<|im_end|>",
        "<|im_start|>|true<|im_end|>",
        *["<|im_start|>|<|im_end|>"] * 3,
    ]


def test_next_call_stands_on_the_ones_before_it() -> None:
    found = heads(call("ferry", to="Oslo"), call("tide"))
    assert len(found) == 2 * (1 + ARGUMENT_HEADS)
    said = '{"name": "ferry", "arguments": {"to": "Oslo"}}\n'
    assert found[7:] == [f"{said}<|im_start|>|{text}<|im_end|>" for text in ("tide", "", "", "", "", "", "")]


def test_no_call_is_taught_by_heads_that_say_nothing() -> None:
    assert heads() == ["<|im_start|>|<|im_end|>"] * 7


def test_arguments_beyond_the_sixth_stand_in_the_last_head() -> None:
    names = [f"a{number}" for number in range(ARGUMENT_HEADS + 2)]
    large = Tool(name="large", parameters={"type": "object", "properties": {name: {} for name in names}})
    found = heads(call("large", **{name: name for name in names}), tools=[large])
    assert [text.removeprefix("<|im_start|>|").removesuffix("<|im_end|>") for text in found] == [
        *("large", "a0", "a1", "a2", "a3", "a4"),
        "a5\na6\na7",
    ]


@pytest.mark.parametrize(("packed", "sizes"), [(True, [3 + 2 + 1]), (False, [3 + 2, 3 + 1])])
def test_prefix_is_read_once_where_rows_are_packed(packed: bool, sizes: list[int]) -> None:
    lessons = [
        Lesson(kind="one", suffix=(4, 5), written=(6,), weights=(1.0,)),
        Lesson(kind="two", suffix=(7,), written=(8,), weights=(1.0,)),
    ]
    assert [len(row) for row in rows_in_layout([1, 2, 3], lessons, packed=packed)] == sizes


@pytest.mark.parametrize("packed", [True, False])
def test_there_is_no_row_that_teaches_nothing(packed: bool) -> None:
    assert rows_in_layout([1], [], packed=packed) == []
