"""A request for one call: where its values stand in the text, and what it says with others."""

from __future__ import annotations

from random import Random

import pytest

from finetune.composed.spoken import said, slots_of, spoken, spoken_of
from grammars.tools import Tool
from tests.finetune.composed.requests import EXAMPLES, TOOLS, WEATHER, chances, example, first, known_values


def test_values_that_stand_in_the_text_can_be_exchanged() -> None:
    request = first()
    assert request.with_values({"city": "Oslo", "days": 5}) == "What is the weather in Oslo over the next 5 days?"
    assert request.with_values({"days": 10}) == "What is the weather in Rome over the next 10 days?"
    assert request.with_values({}) == request.text


def test_a_value_goes_with_the_quotation_marks_around_it() -> None:
    assert first(2).with_values({"parcel_id": "AB1"}) == 'Where is the parcel "AB1"?'
    assert first(2).slots["parcel_id"].quotes == ('"', '"')


@pytest.mark.parametrize(
    ("text", "value", "is_found"),
    [
        ("Rome, please", "Rome", True),
        ("to Rome.", "Rome", True),
        ("for $12.5.", 12.5, True),
        ("3 of 7", 7, True),
        ("Romeo", "Rome", False),
        ("12.55 dollars", 12.5, False),
        ("1.7 of them", 7, False),
        ("from Rome to Rome", "Rome", False),
        ("in the capital of Italy", "Rome", False),
        ("it is true", True, False),
        ("[1, 2]", [1, 2], False),
    ],
)
def test_a_value_is_found_where_it_stands_once_and_whole(text: str, value: object, is_found: bool) -> None:
    found = slots_of(text, {"value": value})
    assert bool(found) is is_found
    if is_found:
        assert text[found["value"].begin : found["value"].end] == said(value)


def test_values_that_overlap_are_not_exchanged() -> None:
    assert slots_of("flights from New York", {"city": "New York", "state": "York"}) == {}


def test_only_a_single_message_for_a_single_call_is_a_request_for_one() -> None:
    assert spoken(EXAMPLES[0]) is not None
    assert spoken(example("first line\nsecond", WEATHER, city="Rome", days=1)) is None


def test_a_request_in_the_words_of_a_schema_says_every_value_of_its_call() -> None:
    values = known_values()
    made = [request for tool in TOOLS for chance in chances(20) if (request := spoken_of(tool, values, chance))]
    assert {request.tool.name for request in made} >= {"weather", "incomeTax", "rhymes"}
    for request in made:
        assert all(said(value) in request.text for value in request.arguments.values()), request.text


def test_no_request_is_made_where_no_value_is_known() -> None:
    values = known_values()
    of_an_object = {"type": "object", "properties": {"mood": {"type": "object"}}, "required": ["mood"]}
    assert spoken_of(WEATHER, values, Random(1)) is not None
    assert spoken_of(Tool(name="feel", description="Feel", parameters=of_an_object), values, Random(1)) is None
