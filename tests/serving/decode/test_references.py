"""References between the calls of one round: what a branch may write, and under which ids its call is handed on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars import references
from grammars.conversation import Choice
from grammars.plan import Plan, PlannedCall, outline_text
from grammars.tools import Tool, ToolCall
from serving.decode.events import CallWritten, DecodeEvent
from tests.serving.decode.rounds import (
    BAG,
    BYTES,
    NOTE,
    NOW,
    Round,
    bag,
    calls_of,
    conversation,
    ended,
    failures_of,
    note,
    outline,
)

ADD = Tool(
    name="add",
    parameters={
        "type": "object",
        "properties": {"one": {"type": "integer"}, "other": {"type": "integer"}},
        "required": ["one", "other"],
        "additionalProperties": False,
    },
)
TOOLS = (NOTE, ADD, BAG, NOW)
REPEATS = bag("a", "a")
"""The grammar takes it; the whole schema does not."""


def add(one: int | str, other: int | str) -> str:
    return ToolCall(id="", name="add", arguments={"one": one, "other": other}).arguments_text


def adding(*calls: str, choice: Choice | None = None) -> Round:
    """A round of nothing but additions."""
    return Round(conversation(choice, tools=TOOLS), plan=outline(*["add"] * len(calls)), calls=calls)


def by_place(events: list[DecodeEvent]) -> dict[int, ToolCall]:
    return {event.index: event.call for event in events if isinstance(event, CallWritten)}


def places(events: list[DecodeEvent]) -> list[int]:
    return [event.index for event in events if isinstance(event, CallWritten)]


async def test_a_reference_to_a_line_is_handed_on_as_one_to_the_call_of_that_line() -> None:
    calls = by_place(
        await adding(add(1, 2), add("$ref:1", 3), add("$ref:2#/sum", "$ref:1")).run(parallel_dependencies=True)
    )
    assert len({call.id for call in calls.values()}) == 3
    assert calls[0].arguments == {"one": 1, "other": 2}
    assert calls[1].arguments == {"one": f"$ref:{calls[0].id}", "other": 3}
    assert calls[2].arguments == {"one": f"$ref:{calls[1].id}#/sum", "other": f"$ref:{calls[0].id}"}


@pytest.mark.parametrize("asked", [False, True])
async def test_references_to_a_later_line_to_itself_or_unasked_for_are_no_arguments(asked: bool) -> None:
    numbers = ["$ref:2", "$ref:3", "$ref:9"] if asked else ["$ref:1"]
    for number in numbers:
        round = Round(
            conversation(tools=TOOLS),
            plan=outline("add", "add", "add"),
            calls=[add(1, 2), add(number, 3), add(4, 5)],
            retries=[add(6, 7)],
        )
        events = await round.run(parallel_dependencies=asked)
        assert by_place(events)[1].arguments == {"one": 6, "other": 7}
        assert ended(events).figures.fallbacks == 1


async def test_without_the_option_the_letters_of_a_reference_are_text() -> None:
    round = Round(conversation(), plan=outline("now", "note"), calls=["{}", note("$ref:1")])
    assert (1, "note", note("$ref:1")) in calls_of(await round.run())
    [prompt] = {BYTES.decode(prefix) for prefix in round.engine.prefixes}
    assert references.MARK not in prompt


async def test_with_the_option_the_model_is_told_how_to_refer() -> None:
    round = Round(conversation(), plan=outline("now"), calls=["{}"])
    await round.run(parallel_dependencies=True)
    [prompt] = {BYTES.decode(prefix) for prefix in round.engine.prefixes}
    assert references.MARK in prompt


async def test_a_call_waits_until_it_is_known_what_becomes_of_the_one_that_it_refers_to() -> None:
    long = note("x" * 100)
    round = Round(
        conversation(tools=TOOLS),
        plan=outline("note", "add", "now"),
        calls=[long, add("$ref:1", 1), "{}"],
        step_s=0.0001,
    )
    assert places(await round.run(parallel_dependencies=True)) == [2, 0, 1]


async def test_a_reference_to_a_duplicate_goes_to_the_call_that_it_equals() -> None:
    events = await adding(add(1, 2), add(1, 2), add("$ref:2", 3), add("$ref:1", 3)).run(parallel_dependencies=True)
    calls = by_place(events)
    first, second = (calls.get(place) or calls[place + 1] for place in (0, 2))
    assert second.arguments == {"one": f"$ref:{first.id}", "other": 3}
    assert len(calls) == 2, "the last two then say the same, too"
    assert ended(events).figures.duplicates_removed == 2


async def test_duplicates_that_are_asked_for_keep_the_references_to_each() -> None:
    same, wanted = add(1, 2), Choice(exact=("add",) * 3)
    calls = by_place(await adding(same, same, add("$ref:2", 3), choice=wanted).run(parallel_dependencies=True))
    assert calls[2].arguments["one"] == f"$ref:{calls[1].id}"


async def test_a_line_that_is_left_out_as_a_repeat_cannot_be_referred_to_and_its_number_is_not_reused() -> None:
    lines = (("add", "part 0"), ("add", "part 0"), ("add", "part 1"), ("add", "part 2"))
    plan = outline_text(Plan(calls=tuple(PlannedCall(tool=tool, subject=subject) for tool, subject in lines)))
    answers = [add(1, 2), add(3, 4), add("$ref:3", "$ref:1")]
    round = Round(conversation(tools=TOOLS), plan=plan, calls=answers)
    calls = by_place(await round.run(parallel_dependencies=True))
    assert calls[3].arguments == {"one": f"$ref:{calls[2].id}", "other": f"$ref:{calls[0].id}"}
    refused = Round(conversation(tools=TOOLS), plan=plan, calls=[*answers[:2], add("$ref:2", 1)], retries=[add(5, 6)])
    assert by_place(await refused.run(parallel_dependencies=True))[3].arguments == {"one": 5, "other": 6}


async def test_a_call_that_is_written_at_its_second_chance_is_referred_to_by_the_id_that_it_gets() -> None:
    round = Round(
        conversation(tools=TOOLS),
        plan=outline("pack.bag", "add", "now"),
        calls=[REPEATS, add("$ref:1", 1), "{}"],
        retries=[bag("a")],
    )
    events = await round.run(parallel_dependencies=True)
    calls = by_place(events)
    assert places(events) == [2, 0, 1]
    assert calls[1].arguments["one"] == f"$ref:{calls[0].id}"


async def test_a_second_chance_may_refer_to_what_waited_for_an_earlier_one() -> None:
    round = Round(
        conversation(tools=TOOLS),
        plan=outline("pack.bag", "add", "add"),
        calls=[REPEATS, add("$ref:1", 1), "nonsense"],
        retries=[bag("a"), add("$ref:2", "$ref:1")],
    )
    calls = by_place(await round.run(parallel_dependencies=True))
    assert calls[2].arguments == {"one": f"$ref:{calls[1].id}", "other": f"$ref:{calls[0].id}"}


async def test_a_reference_to_a_call_that_failed_stays_one_to_a_call_that_never_comes() -> None:
    round = Round(
        conversation(tools=TOOLS),
        plan=outline("pack.bag", "add"),
        calls=[REPEATS, add("$ref:1#/weight", 1)],
        retries=[REPEATS],
    )
    events = await round.run(parallel_dependencies=True)
    assert failures_of(events) == [(0, "pack.bag", "invalid_arguments")]
    [call] = by_place(events).values()
    found = str(call.arguments["one"])
    assert found.startswith("$ref:call_")
    assert found.endswith("#/weight")
    assert call.id not in found


async def test_arguments_that_are_no_references_are_held_to_the_whole_schema() -> None:
    properties = {**BAG.parameters["properties"], "weight": {"type": "integer"}}
    weighed = replace(BAG, parameters={**BAG.parameters, "properties": properties})
    bad = '{"things": ["a", "a"], "weight": "$ref:1"}'
    good = bad.replace('"a", "a"', '"a"')
    round = Round(
        conversation(tools=[NOW, weighed]),
        plan=outline("now", "pack.bag"),
        calls=["{}", bad],
        retries=[good],
    )
    events = await round.run(parallel_dependencies=True)
    assert by_place(events)[1].arguments["things"] == ["a"]
    assert ended(events).figures.fallbacks == 1


@st.composite
def rounds(draw: st.DrawFn) -> list[str]:
    """Additions, each of numbers and of references to any line before it."""
    calls = []
    for line in range(draw(st.integers(1, 6))):
        part = st.integers(0, 1) | (st.integers(1, line).map(lambda number: f"$ref:{number}") if line else st.nothing())
        calls.append(add(draw(part), draw(part)))
    return calls


@given(rounds(), st.integers(0, 6))
@settings(deadline=None)
def test_every_reference_is_to_a_call_that_was_handed_on_before(calls: list[str], least: int) -> None:
    least = min(least, len(calls))
    events = asyncio.run(adding(*calls, choice=Choice(least=least)).run(parallel_dependencies=True))
    known: set[str] = set()
    for event in events:
        if isinstance(event, CallWritten):
            for value in event.call.arguments.values():
                assert not isinstance(value, str) or value.removeprefix("$ref:") in known
            known.add(event.call.id)
    assert len(known) == len(calls) - ended(events).figures.duplicates_removed >= least
