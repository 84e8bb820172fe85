"""The failure modes: each one's definition as cases that show just it, beside those that do not; then properties."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.failures import DEFINITIONS, MODES, Emission, FailedCall, find_failures
from finetune.gold import Gold, gold_of
from grammars.tools import Tool, ToolCall

TEXT = {"type": "string"}
WEATHER = Tool(
    name="weather",
    parameters={
        "type": "object",
        "properties": {"city": TEXT, "day": TEXT, "units": {**TEXT, "default": "metric"}, "wind": {"type": "boolean"}},
        "required": ["city"],
    },
)
TIME = Tool(name="time", parameters={"type": "object", "properties": {"place": TEXT}, "required": ["place"]})
MAIL = Tool(name="mail", parameters={"type": "object", "properties": {"to": TEXT, "text": TEXT, "copies": {}}})
TOOLS = (WEATHER, TIME, MAIL)

Written = tuple[str, dict[str, Any]]


def calls(*written: Written, start: str = "call_") -> tuple[ToolCall, ...]:
    """Calls of these names and arguments, with ids that end in 1, 2, and so on."""
    return tuple(
        ToolCall(id=f"{start}{number}", name=name, arguments=arguments)
        for number, (name, arguments) in enumerate(written, start=1)
    )


def gold(*written: Written) -> Gold:
    """Gold of these calls, whose ids are 1, 2, and so on."""
    return gold_of(calls(*written, start=""), TOOLS)


def weather(city: str, **more: Any) -> Written:
    return "weather", {"city": city, **more}


def time(place: str) -> Written:
    return "time", {"place": place}


def mail(text: Any, **more: Any) -> Written:
    return "mail", {"to": "Ann", "text": text, **more}


def modes(right: Gold, *emitted: Written, failed: tuple[FailedCall, ...] = (), is_cut: bool = False) -> dict[str, int]:
    return dict(find_failures(right, Emission(calls=calls(*emitted), failed=failed, is_cut=is_cut), TOOLS))


BOTH = gold(weather("Rome"), weather("Oslo"))
MIXED = gold(weather("Rome"), time("Oslo"))
SENT = gold(weather("Rome"), mail("$ref:1#/summary"))
CUT = FailedCall(tool="weather", kind="truncated")
BROKEN = FailedCall(tool="weather", kind="invalid_arguments")


@pytest.mark.parametrize(
    ("right", "emitted", "shown"),
    [
        # no failure: any order, other case and spacing, a default said or left out
        (BOTH, [weather("Rome"), weather("Oslo")], {}),
        (BOTH, [weather("Oslo"), weather("Rome")], {}),
        (BOTH, [weather(" ROME "), weather("oslo")], {}),
        (BOTH, [weather("Rome", units="metric"), weather("Oslo")], {}),
        (gold(weather("Rome", units="metric")), [weather("Rome")], {}),
        (gold(weather("Rome"), weather("Rome")), [weather("Rome"), weather("Rome")], {}),
        (gold(), [], {}),
        # under-emission
        (BOTH, [weather("Oslo")], {"under_emission": 1}),
        (MIXED, [time("Oslo")], {"under_emission": 1}),
        (gold(weather("Rome"), weather("Oslo"), time("Bonn")), [weather("Oslo")], {"under_emission": 2}),
        # over-emission
        (BOTH, [weather("Rome"), weather("Oslo"), weather("Bonn")], {"over_emission": 1}),
        (MIXED, [weather("Rome"), time("Oslo"), mail("hello")], {"over_emission": 1}),
        # duplicate
        (BOTH, [weather("Rome"), weather("Oslo"), weather("Rome")], {"duplicate": 1}),
        (BOTH, [weather("Rome"), weather("Rome")], {"duplicate": 1, "under_emission": 1}),
        (gold(weather("Rome")), [weather("Bonn"), weather("Bonn")], {"duplicate": 1, "wrong_argument": 1}),
        (gold(weather("Rome"), weather("Rome")), [weather("Rome")] * 3, {"duplicate": 1}),
        # wrong tool
        (MIXED, [weather("Rome"), mail("Oslo")], {"wrong_tool": 1}),
        (gold(time("Oslo")), [weather("Oslo")], {"wrong_tool": 1}),
        (gold(time("Oslo")), [("clock", {"place": "Oslo"})], {"wrong_tool": 1}),
        # missing argument
        (gold(weather("Rome", day="today")), [weather("Rome")], {"missing_argument": 1}),
        (gold(weather("Rome", units="kelvin")), [weather("Rome")], {"missing_argument": 1}),
        # extra argument
        (gold(weather("Rome")), [weather("Rome", day="today")], {"extra_argument": 1}),
        (gold(weather("Rome")), [weather("Rome", units="kelvin")], {"wrong_argument": 1}),
        # wrong argument
        (gold(weather("Rome")), [weather("Bonn")], {"wrong_argument": 1}),
        (BOTH, [weather("Rome"), weather("Bonn")], {"wrong_argument": 1}),
        (gold(weather("Rome", wind=True)), [weather("Rome", wind=False)], {"wrong_argument": 1}),
        # argument bleed: of the same argument, and of any if it is text
        (
            gold(weather("Rome", day="today"), weather("Oslo", day="Monday")),
            [weather("Rome", day="Monday"), weather("Oslo", day="Monday")],
            {"argument_bleed": 1},
        ),
        (MIXED, [weather("Oslo"), time("Oslo")], {"argument_bleed": 1}),
        (MIXED, [weather("Oslo"), time("Rome")], {"argument_bleed": 2}),
        (gold(weather("Rome"), time("Oslo")), [weather("Rome", day="Oslo"), time("Oslo")], {"argument_bleed": 1}),
        (
            gold(mail("a", copies=1), mail("b", copies=2)),
            [mail("a", copies=2), mail("b", copies=2)],
            {"argument_bleed": 1},
        ),
        (
            gold(weather("Rome", wind=True), weather("Oslo", wind=False)),
            [weather("Rome", wind=True), weather("Oslo", wind=True)],
            {"wrong_argument": 1},
        ),
        (gold(mail("a", copies=1), time("Oslo")), [mail("a", copies=2), time("Oslo")], {"wrong_argument": 1}),
        # dependency violation: a later call with a reference is right, and none is due without one
        (SENT, [weather("Rome")], {}),
        (SENT, [weather("Rome"), mail("$ref:call_1#/summary")], {}),
        (SENT, [weather("Rome"), mail("$ref:call_1")], {}),
        (SENT, [weather("Rome"), mail("It is sunny")], {"dependency_violation": 1}),
        (SENT, [weather("Rome"), mail("$ref:call_2")], {"dependency_violation": 1}),
        (SENT, [weather("Rome"), ("mail", {"to": "Ann"})], {"dependency_violation": 1}),
        (SENT, [mail("It is sunny")], {"dependency_violation": 1, "under_emission": 1}),
        # a call that is due outweighs a later one of the same tool
        (gold(time("Rome"), time("$ref:1")), [time("Bonn")], {"wrong_argument": 1}),
        # invalid JSON: what breaks the schema, unless gold asks for just that
        (gold(weather("Rome")), [("weather", {"city": 3})], {"invalid_json": 1, "wrong_argument": 1}),
        (gold(("weather", {"city": 3})), [("weather", {"city": 3})], {}),
        # calls where none is due, none where one is
        (gold(), [weather("Rome"), time("Oslo")], {"call_where_none_is_due": 2}),
        (gold(), [weather("Rome"), weather("Rome")], {"call_where_none_is_due": 1, "duplicate": 1}),
        (BOTH, [], {"no_call_where_one_is_due": 1}),
        (Gold(any_call=True), [], {"no_call_where_one_is_due": 1}),
        (Gold(any_call=True), [weather("Rome"), mail("hello")], {}),
        (Gold(any_call=True), [("clock", {})], {"wrong_tool": 1}),
    ],
)
def test_mode_of_calls_is_shown_where_its_definition_holds(
    right: Gold, emitted: list[Written], shown: dict[str, int]
) -> None:
    assert modes(right, *emitted) == shown


@pytest.mark.parametrize(
    ("right", "emitted", "failed", "is_cut", "shown"),
    [
        # a call that failed stands for one that is due: it is not missing as well
        (BOTH, [weather("Rome")], (BROKEN,), False, {"invalid_json": 1}),
        (BOTH, [weather("Rome")], (CUT,), False, {"truncation": 1}),
        (BOTH, [], (CUT,), False, {"truncation": 1, "under_emission": 1}),
        (BOTH, [weather("Rome")], (), True, {"truncation": 1, "under_emission": 1}),
        (BOTH, [weather("Rome"), weather("Oslo")], (), True, {"truncation": 1}),
        (BOTH, [weather("Rome")], (CUT,), True, {"truncation": 1}),
        (gold(), [], (BROKEN,), False, {"invalid_json": 1}),
    ],
)
def test_mode_of_calls_that_failed_or_were_cut(
    right: Gold, emitted: list[Written], failed: tuple[FailedCall, ...], is_cut: bool, shown: dict[str, int]
) -> None:
    assert modes(right, *emitted, failed=failed, is_cut=is_cut) == shown


def test_every_mode_has_its_definition() -> None:
    assert tuple(DEFINITIONS) == MODES


def test_documentation_defines_every_mode_in_the_same_words() -> None:
    text = (Path(__file__).parents[2] / "docs" / "finetuning.md").read_text(encoding="utf-8")
    for mode, definition in DEFINITIONS.items():
        assert f"| `{mode}` | {definition} |" in text


CITIES = ("Rome", "Oslo", "Bonn", "Lima", "Kyiv")
DAYS = ("Monday", "Tuesday", "Friday")


@st.composite
def right_answers(draw: st.DrawFn, least: int = 2) -> list[Written]:
    """Calls of which no two are alike and no two siblings share a value."""
    cities = draw(st.permutations(CITIES))[: draw(st.integers(least, 4))]
    return [
        weather(city, day=f"{day} {number}") if draw(st.booleans()) else time(city)
        for number, (city, day) in enumerate(zip(cities, DAYS * 2, strict=False))
    ]


@given(answer=right_answers(), data=st.data())
def test_gold_against_itself_shows_none_in_any_order(answer: list[Written], data: st.DataObject) -> None:
    assert modes(gold(*answer), *data.draw(st.permutations(answer))) == {}


@given(answer=right_answers(), data=st.data())
def test_one_call_removed_shows_just_under_emission(answer: list[Written], data: st.DataObject) -> None:
    removed = data.draw(st.integers(0, len(answer) - 1))
    assert modes(gold(*answer), *answer[:removed], *answer[removed + 1 :]) == {"under_emission": 1}


@given(answer=right_answers(), data=st.data())
def test_one_call_repeated_shows_just_a_duplicate(answer: list[Written], data: st.DataObject) -> None:
    repeated = data.draw(st.sampled_from(answer))
    place = data.draw(st.integers(0, len(answer)))
    assert modes(gold(*answer), *answer[:place], repeated, *answer[place:]) == {"duplicate": 1}


@given(answer=right_answers(), data=st.data())
def test_one_new_call_added_shows_just_over_emission(answer: list[Written], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(answer)))
    assert modes(gold(*answer), *answer[:place], mail("hello"), *answer[place:]) == {"over_emission": 1}


@given(answer=right_answers(), data=st.data())
def test_values_of_two_siblings_swapped_show_just_bleed(answer: list[Written], data: st.DataObject) -> None:
    one, other = data.draw(st.permutations(range(len(answer))))[:2]
    (name, mine), (other_name, its) = answer[one], answer[other]
    place, other_place = (next(iter(arguments)) for arguments in (mine, its))
    swapped = list(answer)
    swapped[one] = (name, {**mine, place: its[other_place]})
    swapped[other] = (other_name, {**its, other_place: mine[place]})
    shown = modes(gold(*answer), *swapped)
    if name == other_name == "time":  # one argument each: the same calls in another order
        assert shown == {}
    else:
        assert shown == {"argument_bleed": 2}


@given(answer=right_answers(), data=st.data())
def test_a_value_of_no_sibling_shows_just_a_wrong_argument(answer: list[Written], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(answer) - 1))
    name, arguments = answer[place]
    changed = (name, {**arguments, next(iter(arguments)): "Perth"})
    assert modes(gold(*answer), *answer[:place], changed, *answer[place + 1 :]) == {"wrong_argument": 1}


EMITTED = st.lists(
    st.one_of(
        st.builds(weather, st.sampled_from(CITIES[:3]), day=st.sampled_from(DAYS)),
        st.builds(time, st.sampled_from(CITIES[:3])),
        st.builds(mail, st.sampled_from(["hello", "$ref:call_1"])),
    ),
    max_size=5,
)


@given(answer=right_answers(least=1), emitted=EMITTED)
def test_counts_of_calls_add_up(answer: list[Written], emitted: list[Written]) -> None:
    shown = modes(gold(*answer), *emitted)
    over = shown.get("over_emission", 0) + shown.get("duplicate", 0)
    missing = shown.get("under_emission", 0) + len(answer) * shown.get("no_call_where_one_is_due", 0)
    assert len(emitted) - over == len(answer) - missing


@given(answer=right_answers(least=1), emitted=EMITTED)
def test_none_is_shown_only_by_the_right_calls(answer: list[Written], emitted: list[Written]) -> None:
    same = sorted(map(repr, answer)) == sorted(map(repr, emitted))
    assert (modes(gold(*answer), *emitted) == {}) == same


@given(answer=right_answers(), emitted=EMITTED, data=st.data())
def test_number_of_calls_that_are_wrong_does_not_depend_on_their_order(
    answer: list[Written], emitted: list[Written], data: st.DataObject
) -> None:
    def faults(shown: dict[str, int]) -> int:
        """Of arguments: whether a fault is bleed may turn on which of two equally good pairs was taken."""
        of_arguments = ("missing_argument", "extra_argument", "wrong_argument", "argument_bleed")
        return sum(shown.get(mode, 0) for mode in of_arguments)

    right = gold(*answer)
    shown, shuffled = modes(right, *emitted), modes(right, *data.draw(st.permutations(emitted)))
    assert faults(shown) == faults(shuffled)
    for mode in ("under_emission", "over_emission", "duplicate", "wrong_tool"):
        assert shown.get(mode) == shuffled.get(mode)


def test_ids_of_calls_play_no_part_where_nothing_refers_to_them() -> None:
    emission = Emission(calls=tuple(replace(call, id=f"x{call.id}") for call in calls(weather("Rome"), time("Oslo"))))
    assert find_failures(MIXED, emission, TOOLS) == {}
