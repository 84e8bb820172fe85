"""Real examples are measured as they are read: gold against itself shows no failure, and what is changed shows."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from finetune.examples import Example, read_examples
from finetune.failures import Emission, find_failures
from finetune.gold import gold_of
from finetune.readers.data_rows import Unreadable
from grammars.conversation import Message
from grammars.tools import Tool, ToolCall
from tests.finetune.data import SEAL_TOOLS, TOOLRL, needs_data


def examples(path: Path) -> list[Example]:
    return list(islice(read_examples(path, refused=[]), 60))


def modes(example: Example, calls: tuple[ToolCall, ...]) -> dict[str, int]:
    tools = example.conversation.tools
    return dict(find_failures(gold_of(example.calls, tools), Emission(calls=calls), tools))


@needs_data
@pytest.mark.parametrize("path", [SEAL_TOOLS, TOOLRL], ids=lambda path: path.parent.name)
def test_real_gold_against_itself_shows_no_failure(path: Path) -> None:
    for example in examples(path):
        assert modes(example, example.calls) == {}, example.id
        assert modes(example, example.calls[::-1]) == {}, example.id


@needs_data
@pytest.mark.parametrize("path", [SEAL_TOOLS, TOOLRL], ids=lambda path: path.parent.name)
def test_real_gold_without_its_first_call_shows_just_that(path: Path) -> None:
    for example in examples(path):
        if example.calls:
            missing = "under_emission" if len(example.calls) > 1 else "no_call_where_one_is_due"
            assert modes(example, example.calls[1:]) == {missing: 1}, example.id


@needs_data
def test_real_examples_without_calls_are_answered_in_text() -> None:
    silent = [example for example in examples(TOOLRL) if not example.calls]
    assert silent
    assert all(example.text for example in silent)
    call = ToolCall(id="call_1", name=silent[0].conversation.tools[0].name, arguments={})
    assert "call_where_none_is_due" in modes(silent[0], (call,))


TOOLS = [Tool(name=name, parameters={"properties": {"x": {"type": "string"}}}) for name in ("first", "second", "third")]


def build(*calls: tuple[str, object]) -> Example:
    return Example.build(id="e", source="t", messages=[Message(role="user", text="Go")], tools=TOOLS, calls=calls)


def test_waves_follow_the_references() -> None:
    example = build(
        ("first", {"x": "a"}), ("second", {"x": "$ref:1#/y"}), ("third", {"x": "b"}), ("first", {"x": "$ref:2"})
    )
    assert [[call.id for call in wave] for wave in example.waves] == [["1", "3"], ["2"], ["4"]]
    assert build().waves == ()


def test_reference_to_a_later_call_or_to_none_is_a_text_like_any_other() -> None:
    example = build(("first", {"x": "$ref:2"}), ("second", {"x": "$ref:7"}))
    assert len(example.waves) == 1
    assert modes(example, (replace(example.calls[0], arguments={"x": "other"}), example.calls[1])) == {
        "wrong_argument": 1
    }


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (("fourth", {}), "call 1 is of 'fourth', which is not among the tools"),
        (("first", {"x": 3}), "/x (type)"),
        (("first", "x"), "the value is not an object"),
    ],
)
def test_call_that_cannot_be_made_is_refused(call: tuple[str, object], reason: str) -> None:
    with pytest.raises(Unreadable) as raised:
        build(call)
    assert reason in str(raised.value)
