"""Failure modes of answers: each definition by answers that show it, beside one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.answer_failures import (
    ANSWER_DEFINITIONS,
    ANSWER_MODES,
    Answer,
    AnswerMode,
    common_length,
    due_values,
    find_answer_failures,
)
from finetune.answered import with_results
from finetune.readers.example import Example
from finetune.said_values import comparable
from grammars.conversation import Message
from grammars.tools import Tool, ToolResult

TIDE = Tool(
    name="tide",
    description="The next high tide.",
    parameters={"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
)
BREST, CALAIS = {"port": "Brest", "at": "13:05", "metres": 6.5}, {"port": "Calais", "at": "05:40", "metres": 1250.0}
GOLD = "Brest: 13:05, 6.5 m. Calais: 05:40, 1,250 m."


def answered(*values: Any, gold: str = GOLD) -> Example:
    """A request for the tides of as many ports as there are results, and what came of it."""
    ports = ["Brest", "Calais", "Cork"][: len(values)]
    asked = Example.build(
        id="1",
        source="here",
        messages=[Message(role="user", text=f"Tides at {', '.join(ports)}, by 9 o'clock?")],
        tools=[TIDE],
        calls=[("tide", {"port": port}) for port in ports],
    )
    results = [ToolResult(call_id=call.id, value=value) for call, value in zip(asked.calls, values, strict=True)]
    return with_results(asked, results, gold)


@pytest.mark.parametrize(
    ("text", "modes"),
    [
        (GOLD, []),
        ("At Brest it is high at 13:05 (6.50 metres), and at CALAIS at 05:40, 1250m.", []),
        ("By 9 o'clock: Brest, 13:05, 6.5. Calais, 05:40, 1250.", []),
        ("Brest: 13:05, 6.5 m. Calais: 05:40.", ["value_missing"]),
        ("Brest: 13:05, 6.55 m. Calais: 05:40, 1250 m.", ["value_missing", "number_invented"]),
        ("Brest: 05:40, 6.5 m. Calais: 13:05, 1250 m.", ["value_out_of_order"]),
        ("Brest: 13:05, 6.5 m. Calais: 05:40, 1250 m. Again, 6.5 m.", ["value_repeated"]),
        ("Brest: 13:05, 6.5 m, 6.5 m, 6.5 m.", ["value_missing", "value_repeated"]),
        ("Brest: 13:05, 6.5 m. Calais: 05:40, 1250 m. Lisbon: 7 m.", ["number_invented"]),
        ("", ["value_missing"]),
    ],
)
def test_an_answer_shows_its_failure_modes(text: str, modes: Sequence[AnswerMode]) -> None:
    assert find_answer_failures(answered(BREST, CALAIS), Answer(text=text)) == set(modes)


def test_a_call_and_a_text_that_was_cut_are_failures_of_their_own() -> None:
    example = answered(BREST, CALAIS)
    assert find_answer_failures(example, Answer(text="", calls=1)) == {"call_in_place_of_an_answer"}
    assert find_answer_failures(example, Answer(text=GOLD, is_cut=True)) == {"truncation"}


@pytest.mark.parametrize(
    ("value", "gold", "due"),
    [
        ({"at": "noon", "ships": ["Ada", "Bo"], "open": True, "next": None}, "Noon; Ada.", ["noon", "ada"]),
        ({"id": 12, "name": "U12"}, "It is U12.", ["u12"]),
        (7, "7 metres", ["7"]),
        (-3, "\N{MINUS SIGN}3 °C", ["-3"]),
        ("closed", "It is closed.", ["closed"]),
        ({"error": "no such port"}, "Brest has no port.", []),
    ],
)
def test_due_are_the_values_of_results_that_the_gold_answer_says(value: Any, gold: str, due: Sequence[str]) -> None:
    assert list(due_values(answered(value, gold=gold))) == due


@pytest.mark.parametrize(
    ("one", "other"), [("1,250.0", "1250"), ("\N{MINUS SIGN}3.50", "-3.5"), ("Two  words", "two words")]
)
def test_values_are_compared_in_one_form(one: str, other: str) -> None:
    assert comparable(one) == comparable(other) == other


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_the_common_length_is_that_of_the_shorter_only_where_the_longer_has_all_of_it(
    one: list[str], other: list[str]
) -> None:
    length = common_length(one, other)
    assert length == common_length(other, one) <= min(len(one), len(other))
    rest = iter(other)
    assert (length == len(one)) == all(value in rest for value in one)


def test_every_mode_is_defined_here_and_in_the_docs() -> None:
    assert tuple(ANSWER_DEFINITIONS) == ANSWER_MODES
    text = (Path(__file__).parents[2] / "docs" / "finetuning.md").read_text(encoding="utf-8")
    for mode, definition in ANSWER_DEFINITIONS.items():
        assert f"| `{mode}` | {definition} |" in text
