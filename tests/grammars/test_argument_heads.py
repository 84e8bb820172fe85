"""A call in as many streams as its tool has arguments: each head a call of one argument, and together the call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.argument_heads import can_be_split, have_heads, heads, merged, part_of, planned_head
from grammars.parse import check_call
from grammars.plan import PlannedCall
from grammars.tools import Tool, ToolCall

FERRY = Tool(
    name="ferry",
    description="Books a ferry.",
    parameters={
        "type": "object",
        "properties": {
            "to": {"type": "string"},
            "cars": {"$ref": "#/$defs/count"},
            "night": {"type": "boolean"},
        },
        "required": ["to"],
        "$defs": {"count": {"type": "integer", "minimum": 0}},
    },
)


def call(arguments: dict[str, Any]) -> ToolCall:
    return ToolCall(id="1", name="ferry", arguments=arguments)


def test_there_is_a_head_for_each_argument_required_as_the_argument_is() -> None:
    found = heads(FERRY)
    assert [list(head.parameters["properties"]) for head in found] == [["to"], ["cars"], ["night"]]
    assert [head.parameters["required"] for head in found] == [["to"], [], []]
    assert heads(Tool(name="clock")) == []


def test_head_is_known_by_its_call_and_its_argument() -> None:
    planned = PlannedCall(tool="ferry", subject="2 of 3", place=1)
    assert [planned_head(planned, head).subject for head in heads(FERRY)] == [
        "2 of 3: to",
        "2 of 3: cars",
        "2 of 3: night",
    ]
    assert planned_head(planned, heads(FERRY)[0]).place == 1


@given(
    st.fixed_dictionaries({"to": st.text()}, optional={"cars": st.integers(0, 9), "night": st.booleans()}),
)
def test_what_the_heads_write_is_valid_each_and_together_the_call(arguments: dict[str, Any]) -> None:
    assert have_heads(call(arguments), FERRY)
    parts = [part_of(call(arguments), head) for head in heads(FERRY)]
    assert all(
        isinstance(check_call(head, one.arguments), ToolCall) for head, one in zip(heads(FERRY), parts, strict=True)
    )
    assert all(len(one.arguments) <= 1 for one in parts)
    assert merged(one.arguments for one in parts) == arguments


TWO: dict[str, Any] = {"to": {"type": "string"}, "cars": {"type": "integer"}}


@pytest.mark.parametrize(
    ("parameters", "split"),
    [
        ({"type": "object", "properties": TWO, "required": ["to"]}, True),
        ({"type": "object", "properties": TWO, "additionalProperties": False, "$defs": {"count": {}}}, True),
        ({"type": "object", "properties": {"to": {"type": "string"}}}, False),
        ({"type": "object"}, False),
        ({"type": "object", "properties": TWO, "additionalProperties": True}, False),
        ({"type": "object", "properties": TWO, "additionalProperties": {}}, False),
        ({"type": "object", "properties": TWO, "additionalProperties": {"type": "string"}}, False),
        ({"type": "object", "properties": TWO, "minProperties": 1}, False),
        ({"type": "object", "properties": TWO, "anyOf": [{"required": ["to"]}, {"required": ["cars"]}]}, False),
        ({"type": "object", "properties": TWO, "patternProperties": {"^x-": {}}}, False),
        ({"type": "object", "properties": TWO, "required": ["from"]}, False),
        ({"type": "object", "properties": {**TWO, "from": {"$ref": "#/$defs/port"}}, "$defs": {"port": {}}}, True),
        ({"type": "object", "properties": {**TWO, "from": {"$ref": "#/properties/to"}}}, False),
        ({"type": "object", "properties": {**TWO, "via": {"items": {"$ref": "#"}}}}, False),
    ],
)
def test_calls_are_split_where_no_argument_depends_on_another(parameters: dict[str, Any], split: bool) -> None:
    tool = Tool(name="ferry", parameters=parameters)
    assert can_be_split(tool) is split
    assert have_heads(call({"to": "Oslo"}), tool) is split
    assert not have_heads(call({"to": "Oslo", "dogs": 1}), tool)
