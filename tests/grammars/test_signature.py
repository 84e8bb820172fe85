"""A tool in few words: its arguments, their types, which may be left out, and what is said of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.signature import signature, type_text
from grammars.tools import Tool, json_text

WEATHER = Tool(
    name="get_weather",
    description="The weather forecast\n  for a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name."},
            "unit": {"enum": ["celsius", "fahrenheit"], "description": "The unit\nof the temperature."},
            "days": {"type": "integer", "minimum": 1},
        },
        "required": ["city"],
    },
)


def test_tool_is_a_line_and_one_for_each_argument() -> None:
    assert signature(WEATHER) == (
        "get_weather: The weather forecast for a city.\n"
        "- city (string): Its name.\n"
        '- unit ("celsius" | "fahrenheit", optional): The unit of the temperature.\n'
        "- days (integer, optional)"
    )


def test_tool_without_description_or_arguments_is_its_name() -> None:
    assert signature(Tool(name="now")) == "now"
    assert signature(Tool(name="now", parameters={"type": "object"})) == "now"


def test_arguments_that_have_no_names_stand_there_as_json() -> None:
    free = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert signature(Tool(name="f", parameters=free)) == f"f\n- {json_text(free)}"


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"const": 5}, "5"),
        ({"enum": ["a", None, 2]}, '"a" | null | 2'),
        ({"type": "array", "items": {"type": "number"}}, "list of number"),
        ({"type": "array"}, "array"),
        ({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]}, "integer | list of string"),
        (
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {"const": 1}}, "required": ["a"]},
            "{a: string, b?: 1}",
        ),
        ({"$ref": "#/$defs/x"}, '{"$ref": "#/$defs/x"}'),
        ({"description": "anything"}, "{}"),
        (True, "true"),
    ],
)
def test_types_in_words_where_words_reach(schema: Any, text: str) -> None:
    assert type_text(schema) == text


TYPES = st.sampled_from(["array", "object", "string", "integer", "null"])
SCHEMAS = st.recursive(
    st.booleans() | st.just({}) | st.fixed_dictionaries({"enum": st.lists(st.integers() | st.text(), min_size=1)}),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, unique=True),
            "items": inner,
            "properties": st.dictionaries(st.text(max_size=3), inner, max_size=3),
            "required": st.lists(st.text(max_size=3)),
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "description": st.text(),
        },
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), SCHEMAS, max_size=4))
@settings(deadline=None, max_examples=100)
def test_every_argument_is_named_whatever_its_schema_says(properties: dict[str, Any]) -> None:
    text = signature(Tool(name="f", parameters={"type": "object", "properties": properties}))
    assert all(f"- {name} (" in text for name in properties)


def test_signature_is_much_shorter_than_json() -> None:
    as_json = json.dumps({"name": WEATHER.name, "description": WEATHER.description, "parameters": WEATHER.parameters})
    assert len(signature(WEATHER)) * 3 < len(as_json) * 2
