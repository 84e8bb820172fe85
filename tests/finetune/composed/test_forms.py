"""Forms of asking for several calls: what is said, and the calls that are right for it, in the order of the text."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from finetune.composed.forms import (
    REPEATED,
    Asked,
    Form,
    afterthought,
    announced_list,
    crossed,
    in_list,
    joined_texts,
    lower_first,
    respectively,
    restated,
    together,
)
from finetune.composed.spoken import said
from grammars.tools import json_text
from tests.finetune.composed.requests import chances, first, known_values

FORMS = dict.fromkeys(REPEATED)


def made(form: Form, count: int, place: int = 0) -> list[Asked]:
    values = known_values()
    return [asked for chance in chances(40) if (asked := form(first(place), values, count, chance)) is not None]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: str(form.__name__))
def test_a_form_asks_for_as_many_calls_as_it_says_no_two_alike_and_all_their_new_values_in_the_text(form: Form) -> None:
    count = 4
    found = made(form, count)
    assert found
    for asked in found:
        written = [json_text(arguments) for _, arguments in asked.calls]
        assert len(written) == len(set(written)) == count, asked.text
        assert all(said(value) in asked.text for _, arguments in asked.calls for value in arguments.values())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: str(form.__name__))
def test_the_calls_stand_in_the_order_of_the_text(form: Form) -> None:
    for asked in made(form, 4):
        cities = list(dict.fromkeys(arguments["city"] for _, arguments in asked.calls))
        places = [asked.text.index(city) for city in cities]
        assert places == sorted(places), asked.text


@pytest.mark.parametrize(
    ("form", "like"),
    [
        (in_list, lambda text: " and " in text and text.endswith("?")),
        (announced_list, lambda text: ": " in text and text.endswith(".")),
        (afterthought, lambda text: text.startswith("What is the weather in Rome over the next 3 days? ")),
        (restated, lambda text: text.lower().count("what is the weather in") == 2),
        (respectively, lambda text: text.endswith(", respectively?")),
    ],
)
def test_each_form_has_its_own_words(form: Form, like: Callable[[str], bool]) -> None:
    found = made(form, 2)
    assert found
    assert all(like(asked.text) for asked in found)


def test_a_cross_is_every_value_with_every_other() -> None:
    for asked in made(crossed, 6):
        pairs = {(arguments["city"], arguments["days"]) for _, arguments in asked.calls}
        assert len(pairs) == 6
        assert len({city for city, _ in pairs}) * len({days for _, days in pairs}) == 6
    assert not made(crossed, 5)


def test_a_request_with_one_value_is_neither_crossed_nor_listed_side_by_side() -> None:
    assert not made(respectively, 2, place=2)
    assert not made(crossed, 4, place=2)
    assert made(in_list, 2, place=2)


def test_a_list_is_not_announced_within_a_word() -> None:
    assert not made(announced_list, 2, place=1)  # "$each of these"


def test_several_requests_become_one_with_all_their_tools_and_calls_in_order() -> None:
    parts = [made(in_list, 2, place)[0] for place in (0, 2)]
    whole = together(parts, Random(3))
    assert whole.tools == (*parts[0].tools, *parts[1].tools)
    assert whole.calls == (*parts[0].calls, *parts[1].calls)
    assert parts[0].text in whole.text


def test_sentences_without_an_end_get_one() -> None:
    for chance in chances(10):
        text = joined_texts(["find it", "Then what?"], chance)
        assert text.startswith("find it. ")
        assert text.endswith("what?")


@pytest.mark.parametrize(
    ("text", "lowered"), [("Find it", "find it"), ("USA first", "USA first"), ("I want", "I want"), ("A", "A")]
)
def test_a_sentence_goes_on_in_small_letters_but_for_names_in_capitals(text: str, lowered: str) -> None:
    assert lower_first(text) == lowered
