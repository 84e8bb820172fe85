"""Other values for an argument: of the form of the one that stands there, and known for an argument of this name."""

from __future__ import annotations

from typing import Any

import pytest

from finetune.composed.values import DATE, LONGEST, Values, is_plain, key, named_in
from grammars.tools import Tool, ToolCall
from tests.finetune.composed.requests import PARCEL, TAX, WEATHER, chances, known_values

TRIP = Tool(
    name="trip",
    parameters={
        "type": "object",
        "properties": {"class": {"enum": ["first", "second"]}, "day": {"type": "string"}, "home": {"type": "string"}},
    },
)


def others(tool: Tool, name: str, value: Any) -> set[Any]:
    return {known_values().other(tool, name, value, chance) for chance in chances(30)}


def test_another_name_is_one_that_tools_or_calls_know_for_the_argument() -> None:
    assert {"Oslo", "Lima"} <= others(WEATHER, "city", "Rome") <= {"Oslo", "Lima", "Quito", "Bern", "Kyiv", "Accra"}
    assert others(WEATHER, "city", "rome") == {None}  # none is written in small letters
    assert others(WEATHER, "mayor", "Rome") == {None}


@pytest.mark.parametrize(
    ("tool", "name", "value", "is_alike"),
    [
        (WEATHER, "days", 3, lambda other: isinstance(other, int) and 1 <= other <= 12),
        (TAX, "income", 412.5, lambda other: isinstance(other, float) and 0 < other <= 3 * 412.5),
        (
            PARCEL,
            "parcel_id",
            "KX7Q22",
            lambda other: [one.isdigit() for one in other] == [*map(str.isdigit, "KX7Q22")],
        ),
        (TRIP, "day", "2024-03-01", lambda other: DATE.fullmatch(other) is not None),
        (TRIP, "class", "first", lambda other: other == "second"),
    ],
    ids=["whole", "decimals", "identifier", "date", "enum"],
)
def test_another_value_has_the_form_of_the_first(tool: Tool, name: str, value: Any, is_alike: Any) -> None:
    assert all(map(is_alike, others(tool, name, value)))


@pytest.mark.parametrize("value", [True, None, ["Rome"], {"city": "Rome"}])
def test_what_is_neither_number_nor_text_has_no_other(value: Any) -> None:
    assert others(WEATHER, "city", value) == {None}


def test_names_of_calls_are_known_in_every_spelling_of_the_argument() -> None:
    called = ToolCall(id="1", name="trip", arguments={"homeTown": "Turku", "code": "AB12", "note": "x" * (LONGEST + 1)})
    values = Values([], [called])
    [chance] = chances(1)
    assert values.other(TRIP, "home_town", "Espoo", chance) == "Turku"
    assert key("homeTown") == key("home_town")
    assert values.other(TRIP, "code", "Espoo", chance) is None
    assert values.other(TRIP, "note", "Espoo", chance) is None


@pytest.mark.parametrize(
    ("description", "named"),
    [
        ("The city (e.g., Rome, Oslo or Lima)", ["Rome", "Oslo", "Lima"]),
        ("A colour such as red, blue, etc.", ["red", "blue"]),
        ("The city", []),
    ],
)
def test_values_that_a_description_names_are_known(description: str, named: list[str]) -> None:
    assert named_in({"type": "string", "description": description}) == named
    assert named_in({"type": "integer", "description": description}) == []


@pytest.mark.parametrize(
    ("value", "plain"), [("New York", True), ("", False), (" Rome", False), ('"Rome"', False), ("x" * 41, False)]
)
def test_a_value_is_plain_if_it_can_stand_in_a_sentence(value: str, plain: bool) -> None:
    assert is_plain(value) is plain
