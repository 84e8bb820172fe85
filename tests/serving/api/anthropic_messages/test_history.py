"""Anthropic's rules for calls and their results, and what a conversation reads of the messages that keep them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.conversation import Message, check_history
from grammars.errors import RequestError
from grammars.tools import CallError, ToolResult
from serving.api.anthropic_messages.history import History, read_history
from serving.api.anthropic_messages.wire import Prompt

ASKED = {"role": "user", "content": "The weather in Bern and Oslo?"}
A, B, C = "toolu_a", "toolu_b", "toolu_c"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(use_id: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": use_id, "name": "weather", "input": {"city": use_id}}


def result(use_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": use_id, "content": "12 degrees", **more}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def system(words: str) -> dict[str, Any]:
    return {"role": "system", "content": words}


def read(*messages: dict[str, Any], instructions: str | None = None) -> History:
    asked = Prompt.model_validate({"model": "m", "messages": list(messages), "system": instructions})
    history = read_history(asked.messages, asked.system)
    check_history(history.messages)
    return history


def roles(history: History) -> list[str]:
    return [message.role for message in history.messages]


CALLED = (ASKED, assistant(text("Let me see."), use(A), use(B)))

ACCEPTED = {
    "in call order": [user(result(A), result(B))],
    "in any order": [user(result(B), result(A))],
    "over several messages of the user": [user(result(A)), user(result(B))],
    "with text after them": [user(result(A), result(B), text("And now?"))],
    "with a message after them": [user(result(A), result(B)), {"role": "user", "content": "And now?"}],
    "with an answer after them": [user(result(A), result(B)), assistant(text("12 degrees.")), ASKED],
    "with instructions after them": [user(result(A), result(B)), system("Be brief."), ASKED],
}


@pytest.mark.parametrize("after", ACCEPTED.values(), ids=ACCEPTED)
def test_results_are_accepted(after: list[dict[str, Any]]) -> None:
    history = read(*CALLED, *after)
    answers = [message.call_id for message in history.messages if message.role == "tool"]
    assert sorted(map(str, answers)) == ["call_a", "call_b"]
    assert roles(history)[:4] == ["user", "assistant", "tool", "tool"]


MISSING = "`tool_use` ids were found without `tool_result` blocks immediately after: "
STRAY = "unexpected `tool_use_id` found in `tool_result` blocks: "
TWICE = "each tool_use must have a single result"

REFUSED = {
    "no turn after calls": (CALLED, MISSING + f"{A}, {B}", "messages[1]"),
    "one is missing": ((*CALLED, user(result(A))), MISSING + f"{B}. Each", "messages[1]"),
    "none but text": ((*CALLED, ASKED), MISSING + f"{A}, {B}", "messages[1]"),
    "text before them": ((*CALLED, user(text("Here:"), result(A), result(B))), MISSING, "messages[1]"),
    "text between them": ((*CALLED, user(result(A), text("and"), result(B))), MISSING + B, "messages[1]"),
    "a message between": ((*CALLED, ASKED, user(result(A), result(B))), MISSING, "messages[1]"),
    "instructions between": ((*CALLED, system("Be brief."), user(result(A), result(B))), MISSING, "messages[1]"),
    "the model goes on": (
        (*CALLED, user(result(A)), assistant(text("12.")), user(result(B))),
        MISSING + B,
        "messages[1]",
    ),
    "of a call nobody made": (
        (*CALLED, user(result(A), result(B), result(C))),
        STRAY + C,
        "messages[2].content[2].tool_use_id",
    ),
    "with no call before": ((ASKED, user(result(A))), STRAY + A, "messages[1].content[0].tool_use_id"),
    "of a call of another turn": (
        (*CALLED, user(result(A), result(B)), assistant(use(C)), user(result(A), result(C))),
        STRAY + A,
        "messages[4].content[0].tool_use_id",
    ),
    "two of one call": (
        (*CALLED, user(result(A), result(B), result(A))),
        f"{TWICE}.*{A}",
        "messages[2].content[0].tool_use_id",
    ),
    "two of one call, apart": (
        (*CALLED, user(result(A), result(B)), user(result(B))),
        f"{TWICE}.*{B}",
        "messages[2].content[1].tool_use_id",
    ),
    "an id used twice in one turn": (
        (ASKED, assistant(use(A), use(A))),
        f"`tool_use` ids must be unique: {A}",
        "messages[1].content[1].id",
    ),
    "an id used again": (
        (*CALLED, user(result(A), result(B)), assistant(use(A))),
        f"`tool_use` ids must be unique: {A}",
        "messages[3].content[0].id",
    ),
    "nothing at all": ((), "at least one message is required", "messages"),
}


@pytest.mark.parametrize(("messages", "says", "place"), REFUSED.values(), ids=REFUSED)
def test_history_that_breaks_a_rule_is_refused_in_anthropics_words_at_its_place(
    messages: tuple[dict[str, Any], ...], says: str, place: str
) -> None:
    with pytest.raises(RequestError, match=says) as refused:
        read(*messages)
    assert refused.value.place == place


@given(
    st.integers(1, 8).flatmap(lambda count: st.tuples(st.permutations(range(count)), st.sets(st.integers(1, count))))
)
def test_any_order_of_results_over_any_messages_of_the_user_reads_the_same(drawn: Any) -> None:
    order, cuts = drawn
    ids = [f"toolu_{number}" for number in range(len(order))]
    blocks = [result(ids[number]) for number in order]
    edges = [0, *sorted(cuts - {len(blocks)}), len(blocks)]
    apart = [user(*blocks[start:end]) for start, end in pairwise(edges)]
    history = read(ASKED, assistant(*map(use, ids)), *apart)
    assert history.messages == read(ASKED, assistant(*map(use, ids)), user(*blocks)).messages


def test_messages_of_one_role_that_follow_each_other_are_one_turn() -> None:
    history = read(
        {"role": "user", "content": "One."},
        user(text("Two."), text("Three.")),
        assistant(text("Fo"), text("ur.")),
        assistant(use(A)),
        user(result(A)),
        user(text("Five.")),
    )
    assert [(message.role, message.text) for message in history.messages] == [
        ("user", "One.\nTwo.\nThree."),
        ("assistant", "Four."),
        ("tool", "12 degrees"),
        ("user", "Five."),
    ]
    assert [call.arguments for call in history.messages[1].calls] == [{"city": A}]


def test_system_comes_first_and_instructions_stand_where_they_were_given() -> None:
    history = read(ASKED, system("Be brief."), ASKED, instructions="You are kind.")
    assert [(message.role, message.text) for message in history.messages][::2] == [
        ("system", "You are kind."),
        ("system", "Be brief."),
    ]
    assert roles(history) == ["system", "user", "system", "user"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"content": "12 degrees"}, "12 degrees"),
        ({"content": [text("12"), text("degrees")]}, "12\ndegrees"),
        ({"content": []}, ""),
        ({"content": None}, ""),
        ({"is_error": False}, "12 degrees"),
    ],
)
def test_result_is_a_string_or_blocks_or_nothing(content: dict[str, Any], words: str) -> None:
    assert read(ASKED, assistant(use(A)), user(result(A, **content))).messages[-1] == Message(
        role="tool", text=words, call_id="call_a"
    )


@pytest.mark.parametrize("content", ["no such city", "", [text("no such city")]])
def test_a4_the_model_reads_a_failure_as_it_reads_one_of_the_servers_tools(content: Any) -> None:
    read_by_model = read(ASKED, assistant(use(A)), user(result(A, content=content, is_error=True))).messages[-1].text
    words = content if isinstance(content, str) else "no such city"
    assert read_by_model == ToolResult(call_id="x", error=CallError(kind="tool_error", message=words)).text
    assert '"error": "tool_error"' in read_by_model


def test_ids_of_other_makers_are_kept() -> None:
    history = read(ASKED, assistant(use("call_1"), use("abc")), user(result("abc"), result("call_1")))
    assert [call.id for call in history.messages[1].calls] == ["call_1", "abc"]


def test_our_places_are_told_by_the_clients_names() -> None:
    history = read(*CALLED, user(result(A), result(B), text("And?")), instructions="Be kind.")
    assert history.names == {
        "messages[0]": "system",
        "messages[1]": "messages[0]",
        "messages[2]": "messages[1]",
        "messages[2].tool_calls[0].function.arguments": "messages[1].content[1].input",
        "messages[2].tool_calls[1].function.arguments": "messages[1].content[2].input",
        "messages[3]": "messages[2].content[0]",
        "messages[4]": "messages[2].content[1]",
        "messages[5]": "messages[2]",
    }
