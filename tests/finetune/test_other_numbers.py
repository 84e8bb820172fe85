"""Findings with other numbers: what changes in result and text alike, and what is kept."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.other_numbers import other_value, with_other_numbers
from finetune.readers.example import Example
from grammars.conversation import Message
from grammars.tools import Tool, ToolCall, json_text

TIDE = Tool(name="tide", description="Tide in metres, 1 to 9.", parameters={"type": "object"})


def finding(result: Any, text: str) -> Example:
    call = ToolCall(id="1", name="tide", arguments={"port": "Brest", "days": 5})
    told = result if isinstance(result, str) else json.dumps(result)
    messages = [
        Message(role="user", text=TIDE.description),
        Message(role="assistant", calls=(call,)),
        Message(role="tool", text=told, call_id="1"),
    ]
    return Example.build(id="f", source="here", messages=messages, tools=[TIDE], text=text)


@pytest.mark.parametrize(
    ("result", "text", "kept"),
    [
        ({"m": 6.5}, "Brest: 6.5 m.", "Brest: {m} m."),
        ({"m": -6, "at": "13:05"}, "-6 m at 13:05", "{m} m at {at}"),
        ({"m": 6.5, "tide": "low"}, "6.5 m, low", "{m} m, low"),
        ({"m": 6, "days": 5}, "6 m after 5 days", "{m} m after 5 days"),
    ],
)
def test_result_and_text_change_alike(result: dict[str, Any], text: str, kept: str) -> None:
    for seed in range(20):
        other = with_other_numbers(finding(result, text), Random(seed))
        assert other is not None
        value = json.loads(other.conversation.messages[-1].text)
        assert value.keys() == result.keys()
        assert other.text == kept.format(**value)
        assert other.conversation.messages[:-1] == finding(result, text).conversation.messages[:-1]
    assert other.id == "f-other"


def test_a_number_never_becomes_another_of_the_same_result() -> None:
    for seed in range(400):
        other = with_other_numbers(finding({"m": 6, "n": 7}, "6 m."), Random(seed))
        if other is not None:
            value = json.loads(other.conversation.messages[-1].text)
            assert value["n"] == 7 != value["m"]
            assert other.text == f"{value['m']} m."


@pytest.mark.parametrize("result", [6.5, "13:05"])
def test_a_bare_result_changes_too(result: Any) -> None:
    other = with_other_numbers(finding(result, f"Brest: {result}"), Random(1))
    assert other is not None
    assert other.text == f"Brest: {other.conversation.messages[-1].text}"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"m": 5}, "5 m"),  # the call has it too
        ({"m": 9}, "9 m"),  # the description has it
        ({"m": 7}, "7 m, and 7 again"),
        ({"m": 7, "n": 7}, "7 m"),
        ({"m": 7, "note": "7 m at noon"}, "7 m at noon"),
        ({"m": 1250}, "1,250 m"),  # not word for word
        ({"m": 6.5}, "6.50 m"),
        ({"m": 6}, "pier-6, 6/7, 16, 6:30 and 6.5"),
        ({"m": 1e-9}, "1e-09 m"),
        ({"tide": "low", "is_safe": True}, "low"),
        ("low", "low"),
    ],
)
def test_what_is_not_said_once_word_for_word_makes_no_example(result: Any, text: str) -> None:
    assert with_other_numbers(finding(result, text), Random(1)) is None


@given(st.integers(-10_000, 10_000) | st.decimals(-999, 999, places=2).map(float), st.integers())
def test_a_number_keeps_its_form(old: float, seed: int) -> None:
    new = other_value(old, Random(seed))
    assert type(new) is type(old)
    whole, _, fraction = json_text(abs(old)).partition(".")
    new_whole, _, new_fraction = json_text(abs(new)).partition(".")
    assert (len(new_whole), bool(new_fraction)) == (len(whole), bool(fraction))
    assert len(new_fraction) <= len(fraction)


def test_some_numbers_are_negative() -> None:
    assert {other_value(5, Random(seed)) < 0 for seed in range(20)} == {True, False}
