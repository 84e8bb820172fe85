"""Names, calls and results: what is a name, which calls are the same, and how values become text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.tools import CallError, Tool, ToolCall, ToolResult, is_tool_name, json_text, same_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def reordered(value: Any) -> Any:
    """The same JSON with the names of all objects in the opposite order."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["f", "_", "get_weather", "a.b", "a-b", "F9", "a" * 128])
def test_names_that_every_wire_can_carry_are_names(name: str) -> None:
    assert is_tool_name(name)


@pytest.mark.parametrize(
    "name", ["", "9f", "-f", ".f", "a b", "a\n", "é", "a/b", "a:b", 'a"b', "a{b}", "<|im_end|>", "a" * 129]
)
def test_other_texts_are_no_names(name: str) -> None:
    assert not is_tool_name(name)


def test_tool_without_a_schema_takes_an_object_and_shares_it_with_no_other() -> None:
    one, other = Tool(name="a"), Tool(name="b")
    assert one.parameters == other.parameters == {"type": "object", "properties": {}}
    assert one.parameters is not other.parameters


@given(VALUES)
def test_json_text_reads_back_to_the_same_value(value: Any) -> None:
    assert same_json(json.loads(json_text(value)), value)


def test_json_text_keeps_letters_and_puts_one_space_after_separators() -> None:
    assert json_text({"a": [1, "é→"], "b": None}) == '{"a": [1, "é→"], "b": null}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_json_text_refuses_numbers_that_json_does_not_have(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_text(value)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_calls_are_the_same_whatever_their_ids_and_order_of_names(arguments: dict[str, Any]) -> None:
    one = ToolCall(id="1", name="f", arguments=arguments)
    assert one.same_as(ToolCall(id="2", name="f", arguments=reordered(arguments)))
    assert not one.same_as(ToolCall(id="1", name="g", arguments=arguments))
    assert not one.same_as(ToolCall(id="1", name="f", arguments={**arguments, "one more": 1}))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ([1, 2], [1, 2], True),
        ([1, 2], [2, 1], False),
        ([True], [1], False),
        ({"a": {"b": 0}}, {"a": {"b": False}}, False),
        ({"a": None}, {}, False),
        ("1", 1, False),
        ([], {}, False),
    ],
)
def test_values_are_compared_as_json(one: Any, other: Any, *, same: bool) -> None:
    assert same_json(one, other) is same
    assert same_json(other, one) is same


def test_arguments_text_keeps_the_order_in_which_they_were_written() -> None:
    assert ToolCall(id="1", name="f", arguments={"b": 1, "a": "é"}).arguments_text == '{"b": 1, "a": "é"}'


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (ToolResult(call_id="1", value="plain {text}"), "plain {text}"),
        (ToolResult(call_id="1", value={"a": [1]}), '{"a": [1]}'),
        (ToolResult(call_id="1", value=None), "null"),
        (
            ToolResult(call_id="1", error=CallError(kind="timeout", message='after "5 s"')),
            '{"error": "timeout", "message": "after \\"5 s\\""}',
        ),
    ],
)
def test_result_reads_as_its_text_its_json_or_its_error(result: ToolResult, text: str) -> None:
    assert result.text == text
