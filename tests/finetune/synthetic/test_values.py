"""Values: their words, and the JSON that the words stand for."""

from __future__ import annotations

from datetime import date
from random import Random
from typing import Any

import pytest

from finetune.synthetic.values import measured, ordinal, pools, read_kind
from grammars.errors import ConfigurationError
from grammars.schema import read_schema

KINDS = [
    "city",
    "int 2..40 km",
    "int 1..5000 g",
    "num 0.5..20 m",
    "year 1900..2020",
    "percent 1..15",
    "rate 1..15",
    "date",
    "time",
    "enum a|b::in words",
    "bool yes|no",
    "ints 3..6 1..99",
    "nums 3..6 1..99",
    "words 2..3 city",
    "point -9..9",
    "size 2..9 m",
]


@pytest.mark.parametrize("kind", KINDS)
def test_values_fit_the_schema_of_their_kind(kind: str) -> None:
    read = read_kind(kind)
    schema = read_schema(read.schema, root="any")
    for seed in range(80):
        value = read.draw(Random(seed))
        assert not schema.problems(value.json), value
        assert value == read.draw(Random(seed))


@pytest.mark.parametrize(
    ("kind", "words"),
    [("int 2..40 km", " km"), ("percent 1..15", "%"), ("int 2000..9000 $", ","), ("num 1..5 °C", "°C")],
)
def test_unit_stands_in_the_words_only(kind: str, words: str) -> None:
    value = read_kind(kind).draw(Random(1))
    assert words in value.text
    assert isinstance(value.json, int | float)


def test_percent_and_rate_differ_by_a_hundred() -> None:
    for seed in range(20):
        percent, rate = (read_kind(f"{head} 1..15").draw(Random(seed)) for head in ("percent", "rate"))
        assert percent.text == rate.text
        assert percent.json == pytest.approx(rate.json * 100)


def test_dates_are_days_of_the_calendar_and_say_their_year() -> None:
    for seed in range(40):
        value = read_kind("date").draw(Random(seed))
        assert str(date.fromisoformat(value.json).year) in value.text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1500, "$", "$1,500"), (74.6, "$", "$74.60"), (25, "°C", "25°C"), (15, "km", "15 km"), (1999, "", "1999")],
)
def test_measure_as_people_write_it(value: float, unit: str, text: str) -> None:
    assert measured(value, unit).text == text
    assert measured(value, unit).json == value


@pytest.mark.parametrize(("day", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")])
def test_ordinal(day: int, text: str) -> None:
    assert ordinal(day) == text


def test_siblings_are_unlike_as_long_as_the_pool_has_others() -> None:
    kind, random, drawn = read_kind("enum a|b|c"), Random(0), []
    for _ in range(3):
        value = kind.draw_unlike(drawn, random)
        assert value is not None
        drawn.append(value)
    assert {value.json for value in drawn} == {"a", "b", "c"}
    assert kind.draw_unlike(drawn, random) is None


def test_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no kind of value"):
        read_kind("cities")
    assert "cities" not in pools()


def json_of(kind: str, seed: int) -> Any:
    return read_kind(kind).draw(Random(seed)).json


def test_a_bool_without_other_words_is_only_ever_true() -> None:
    assert {json_of("bool gift-wrapped", seed) for seed in range(10)} == {True}
    assert {json_of("bool wrapped|bare", seed) for seed in range(10)} == {True, False}
