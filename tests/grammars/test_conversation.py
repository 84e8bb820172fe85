"""What a request may ask: every rule, beside what it refuses and the place that the refusal names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.conversation import (
    CALLS_LIMIT,
    DEFAULT_MOST_CALLS,
    TOOLS_LIMIT,
    Choice,
    Conversation,
    Message,
    check_history,
    read_choice,
)
from grammars.errors import RequestError
from grammars.tools import Tool, ToolCall

USER = Message(role="user", text="hello")
TOOLS = (Tool(name="a"), Tool(name="b"), Tool(name="c"))


def tools(*names: str) -> list[Tool]:
    return [Tool(name=name) for name in names]


def asked(*ids: str) -> Message:
    return Message(role="assistant", calls=tuple(ToolCall(id=call_id, name="a", arguments={}) for call_id in ids))


def result(call_id: str | None) -> Message:
    return Message(role="tool", text="done", call_id=call_id)


def place_of_refusal(
    messages: Sequence[Message] = (USER,), offered: Sequence[Tool] = TOOLS, choice: Choice | None = None
) -> str | None:
    with pytest.raises(RequestError) as refused:
        Conversation.read(messages, offered, choice)
    assert refused.value.status == 400
    return refused.value.place


# Tools


@pytest.mark.parametrize(
    ("accepted", "refused", "place"),
    [
        (tools("a", "b"), tools("a", "b", "a"), "tools[2].function.name"),
        (tools("a", "A"), tools("a", "a"), "tools[1].function.name"),
        (tools("get_weather"), tools("get weather"), "tools[0].function.name"),
        (tools("a", "_1"), tools("a", "1_"), "tools[1].function.name"),
        (tools("a" * 128), tools("a" * 129), "tools[0].function.name"),
        (tools(*(f"t{i}" for i in range(TOOLS_LIMIT))), tools(*(f"t{i}" for i in range(TOOLS_LIMIT + 1))), "tools"),
    ],
)
def test_tools_are_few_named_and_named_once(accepted: list[Tool], refused: list[Tool], place: str) -> None:
    assert Conversation.read([USER], accepted).tools == tuple(accepted)
    assert place_of_refusal(offered=refused) == place


def test_refusal_of_a_name_given_twice_says_where_it_came_first() -> None:
    with pytest.raises(RequestError, match=r"'b' is already defined as tools\[1\]"):
        Conversation.read([USER], tools("a", "b", "c", "b"))


# History


HISTORIES: dict[str, tuple[list[Message], list[Message], str]] = {
    "no message": ([USER], [], "messages"),
    "result of nobody's call": ([USER, asked("1"), result("1")], [USER, result("1")], "messages[1].tool_call_id"),
    "result before its call": (
        [USER, asked("1"), result("1")],
        [result("1"), asked("1"), result("1")],
        "messages[0].tool_call_id",
    ),
    "result without an id": (
        [USER, asked("1"), result("1")],
        [USER, asked("1"), result(None)],
        "messages[2].tool_call_id",
    ),
    "result of another call": (
        [USER, asked("1", "2"), result("2"), result("1")],
        [USER, asked("1", "2"), result("1"), result("3")],
        "messages[3].tool_call_id",
    ),
    "second result": (
        [USER, asked("1", "2"), result("1"), result("2")],
        [USER, asked("1", "2"), result("1"), result("1")],
        "messages[3].tool_call_id",
    ),
    "result of an earlier round": (
        [USER, asked("1"), result("1"), asked("2"), result("2")],
        [USER, asked("1"), result("1"), asked("2"), result("1")],
        "messages[4].tool_call_id",
    ),
    "user speaks before the results": (
        [USER, asked("1"), result("1"), USER],
        [USER, asked("1"), USER, result("1")],
        "messages[2]",
    ),
    "assistant speaks before the results": (
        [USER, asked("1"), result("1"), asked("2"), result("2")],
        [USER, asked("1"), asked("2"), result("1"), result("2")],
        "messages[2]",
    ),
    "no result at the end": ([USER, asked("1"), result("1")], [USER, asked("1")], "messages[2]"),
    "id twice in a message": (
        [USER, asked("1", "2"), result("1"), result("2")],
        [USER, asked("1", "1"), result("1"), result("1")],
        "messages[1].tool_calls",
    ),
    "id of an earlier message": (
        [USER, asked("1"), result("1"), asked("2"), result("2")],
        [USER, asked("1"), result("1"), asked("1"), result("1")],
        "messages[3].tool_calls",
    ),
}


@pytest.mark.parametrize(("accepted", "refused", "place"), HISTORIES.values(), ids=HISTORIES)
def test_every_call_has_one_result_before_anyone_speaks(
    accepted: list[Message], refused: list[Message], place: str
) -> None:
    assert Conversation.read(accepted).messages == tuple(accepted)
    assert place_of_refusal(refused) == place


def test_refusal_of_missing_results_lists_the_calls_without_one() -> None:
    with pytest.raises(RequestError, match=r"did not have response messages: 1, 3$"):
        Conversation.read([USER, asked("1", "2", "3"), result("2"), USER])


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**8000], ids=["not a number", "infinite", "too long to write"]
)
def test_arguments_that_cannot_be_written_as_json_are_refused(value: float) -> None:
    bad = ToolCall(id="2", name="a", arguments={"deep": [value]})
    message = Message(role="assistant", calls=(ToolCall(id="1", name="a", arguments={"deep": [1]}), bad))
    assert place_of_refusal([USER, message, result("1"), result("2")]) == "messages[1].tool_calls[1].function.arguments"


@dataclass(frozen=True)
class History:
    """A history that keeps the rules, and where its results stand."""

    messages: tuple[Message, ...]

    @property
    def results(self) -> list[int]:
        return [index for index, message in enumerate(self.messages) if message.role == "tool"]


@st.composite
def histories(draw: st.DrawFn, *, least_calls: int = 0) -> History:
    """Any rounds of any calls, the results of each in any order before the next speaker."""
    messages: list[Message] = [USER]
    calls = 0
    for size in draw(st.lists(st.integers(least_calls, 5), min_size=1, max_size=5)):
        ids = [f"call {calls + number}" for number in range(size)]
        calls += size
        messages += [asked(*ids), *(result(call_id) for call_id in draw(st.permutations(ids)))]
        messages += draw(st.lists(st.sampled_from([USER, Message(role="system", text="be brief")]), max_size=2))
    return History(tuple(messages))


@given(histories())
def test_results_in_any_order_before_the_next_speaker_are_accepted(history: History) -> None:
    check_history(history.messages)


@given(histories(least_calls=1), st.data())
def test_history_with_one_result_less_is_refused(history: History, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(history.results))
    with pytest.raises(RequestError, match="did not have response messages"):
        check_history(history.messages[:place] + history.messages[place + 1 :])


@given(histories(least_calls=1), st.data())
def test_history_with_a_result_twice_is_refused_at_the_second(history: History, data: st.DataObject) -> None:
    first = data.draw(st.sampled_from(history.results))
    second = data.draw(st.integers(first + 1, len(history.messages)))
    doubled = [*history.messages[:second], history.messages[first], *history.messages[second:]]
    with pytest.raises(RequestError, match="already answered") as refused:
        check_history(doubled)
    assert refused.value.place == f"messages[{second}].tool_call_id"


@given(histories(), st.data())
def test_history_with_a_result_that_nobody_asked_for_is_refused_there(history: History, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(history.messages)))
    messages = [*history.messages[:place], result("invented"), *history.messages[place:]]
    with pytest.raises(RequestError, match="no preceding assistant message") as refused:
        check_history(messages)
    assert refused.value.place == f"messages[{place}].tool_call_id"


# Choice


CHOICES: dict[str, tuple[Choice, Choice, str]] = {
    "allowed tool that is not offered": (
        Choice(allowed=frozenset("ab")),
        Choice(allowed=frozenset({"a", "x"})),
        "tool_choice",
    ),
    "no tool allowed": (Choice(allowed=frozenset("a")), Choice(allowed=frozenset()), "tool_choice"),
    "exact tool that is not offered": (Choice(exact=("a", "b")), Choice(exact=("a", "x")), "tool_choice"),
    "exact tool that is not allowed": (
        Choice(exact=("a", "b"), allowed=frozenset("abc")),
        Choice(exact=("a", "b"), allowed=frozenset("a")),
        "polycall.exact_tools",
    ),
    "exactly nothing": (Choice(exact=("a",)), Choice(exact=()), "polycall.exact_tools"),
    "more exact tools than most": (
        Choice(exact=("a", "a"), most=2),
        Choice(exact=("a", "a"), most=1),
        "polycall.exact_tools",
    ),
    "fewer exact tools than least": (
        Choice(exact=("a", "b"), least=2),
        Choice(exact=("a",), least=2),
        "polycall.exact_tools",
    ),
    "exact tools beyond the limit": (
        Choice(exact=("a",) * CALLS_LIMIT, most=CALLS_LIMIT),
        Choice(exact=("a",) * (CALLS_LIMIT + 1), most=CALLS_LIMIT + 1),
        "polycall.max_calls",
    ),
    "most of zero": (Choice(most=1), Choice(most=0), "polycall.max_calls"),
    "most beyond the limit": (Choice(most=CALLS_LIMIT), Choice(most=CALLS_LIMIT + 1), "polycall.max_calls"),
    "least above most": (Choice(least=3, most=3), Choice(least=4, most=3), "polycall.min_calls"),
    "negative least": (Choice(least=0), Choice(least=-1), "polycall.min_calls"),
    "none, and calls": (Choice(mode="none"), Choice(mode="none", least=1), "polycall.min_calls"),
    "none, and exact tools": (Choice(mode="none"), Choice(mode="none", exact=("a",)), "polycall.exact_tools"),
}


@pytest.mark.parametrize(("accepted", "refused", "place"), CHOICES.values(), ids=CHOICES)
def test_choice_contradicts_neither_the_tools_nor_itself(accepted: Choice, refused: Choice, place: str) -> None:
    Conversation.read([USER], TOOLS, accepted)
    assert place_of_refusal(choice=refused) == place


@pytest.mark.parametrize("choice", [Choice(), Choice(mode="required"), Choice(exact=("a",))])
def test_choice_to_call_needs_tools(choice: Choice) -> None:
    assert place_of_refusal(offered=(), choice=choice) == "tool_choice"


READ: dict[str, tuple[Choice, str, int, int]] = {
    "auto": (Choice(), "auto", 0, DEFAULT_MOST_CALLS),
    "auto with bounds": (Choice(least=2, most=3), "auto", 2, 3),
    "required": (Choice(mode="required"), "required", 1, DEFAULT_MOST_CALLS),
    "required with bounds": (Choice(mode="required", least=4, most=4), "required", 4, 4),
    "none": (Choice(mode="none"), "none", 0, 0),
    "exact": (Choice(exact=("a", "b", "a")), "required", 3, 3),
    "named": (Choice(exact=("b",), most=1), "required", 1, 1),
}


@pytest.mark.parametrize(("choice", "mode", "least", "most"), READ.values(), ids=READ)
def test_choice_is_read_into_bounds(choice: Choice, mode: str, least: int, most: int) -> None:
    read = read_choice(choice, TOOLS)
    assert (read.mode, read.least, read.most) == (mode, least, most)
    assert read_choice(read, TOOLS) == read, "reading again changes nothing"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (Choice(), "abc"),
        (Choice(mode="required"), "abc"),
        (Choice(mode="none"), ""),
        (Choice(allowed=frozenset("ca")), "ac"),
        (Choice(exact=("b",)), "b"),
        (Choice(exact=("c", "a", "c")), "ac"),
    ],
)
def test_callable_tools_are_those_allowed_in_the_order_offered(choice: Choice, names: str) -> None:
    conversation = Conversation.read([USER], TOOLS, choice)
    assert "".join(tool.name for tool in conversation.callable_tools) == names


@pytest.mark.parametrize(("offered", "mode"), [(TOOLS, "auto"), ((), "none")])
def test_without_a_choice_the_model_decides_if_there_are_tools(offered: Sequence[Tool], mode: str) -> None:
    assert Conversation.read([USER], offered).choice.mode == mode


def test_continued_conversation_says_more_and_keeps_the_rest() -> None:
    conversation = Conversation.read([USER], TOOLS)
    more = conversation.continued([asked("1"), result("1")])
    assert more == replace(conversation, messages=(USER, asked("1"), result("1")))
    assert more.continued([], Choice(mode="none")).callable_tools == ()
