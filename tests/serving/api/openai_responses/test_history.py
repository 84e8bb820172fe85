"""Items are read as messages: what the model answered at once is one answer, and behind it stand its calls' results."""

from __future__ import annotations

from typing import Any

import pytest

from grammars.conversation import Conversation, Message
from grammars.errors import RequestError
from serving.api.openai_responses.history import History, read_history
from serving.api.openai_responses.items import ITEMS


def read(*items: dict[str, Any]) -> History:
    parsed = ITEMS.validate_python(list(items))
    return read_history((f"input[{index}]", item) for index, item in enumerate(parsed))


def told(history: History) -> list[str]:
    """Each message in short, such as `assistant look(1)` or `tool 1: seen`."""
    return [short(message) for message in history.messages]


def short(message: Message) -> str:
    if message.role == "tool":
        return f"tool {str(message.call_id).removeprefix('call_')}: {message.text}"
    calls = [f"{call.name}({call.id.removeprefix('call_')})" for call in message.calls]
    return " ".join([message.role, *([message.text] if message.text else []), *calls])


def user(text: str = "Go.") -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def call(number: int) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"call_{number}", "name": "map", "arguments": "{}"}


def output(number: int, text: str = "shown") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": text}


def ran(number: int, **more: Any) -> dict[str, Any]:
    shown = {"id": f"mcp_{number}", "server_label": "house", "name": "look", "arguments": "{}", "output": "seen"}
    return {"type": "mcp_call", **shown, **more}


def asks(number: int) -> dict[str, Any]:
    return {
        "type": "mcp_approval_request", "id": f"call_{number}", "server_label": "house", "name": "look",
        "arguments": "{}",
    }  # fmt: skip


def says(number: int, approve: bool, **more: Any) -> dict[str, Any]:
    return {"type": "mcp_approval_response", "approval_request_id": f"call_{number}", "approve": approve, **more}


LISTS = {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "house", "tools": []}


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        pytest.param([user(), answer("Hi.")], ["user Go.", "assistant Hi."], id="text"),
        pytest.param(
            [{"role": "developer", "content": [{"type": "input_text", "text": "Be "}]}, user()],
            ["system Be ", "user Go."],
            id="roles",
        ),
        pytest.param(
            [user(), call(1), call(2), output(2), output(1)],
            ["user Go.", "assistant map(1) map(2)", "tool 2: shown", "tool 1: shown"],
            id="calls written at once are one answer",
        ),
        pytest.param(
            [user(), answer("See:"), call(1), output(1), answer("Done.")],
            ["user Go.", "assistant See: map(1)", "tool 1: shown", "assistant Done."],
            id="a text before calls belongs to them",
        ),
        pytest.param(
            [user(), call(1), output(1), call(2), output(2)],
            ["user Go.", "assistant map(1)", "tool 1: shown", "assistant map(2)", "tool 2: shown"],
            id="after a result a new answer begins",
        ),
        pytest.param(
            [user(), ran(1), ran(2), answer("Seen.")],
            ["user Go.", "assistant look(1) look(2)", "tool 1: seen", "tool 2: seen", "assistant Seen."],
            id="calls of the server",
        ),
        pytest.param(
            [user(), LISTS, ran(1), call(2), ran(3), output(2)],
            [
                "user Go.", "assistant look(1) look(3)", "tool 1: seen", "tool 3: seen", "assistant map(2)",
                "tool 2: shown",
            ],
            id="calls of both sides are two answers, the server's first",
        ),
        pytest.param(
            [user(), ran(1, output=None, error={"type": "http_error", "code": 500, "message": "broke"}), answer("So.")],
            ["user Go.", "assistant look(1)", "tool 1: broke", "assistant So."],
            id="a call that failed",
        ),
        pytest.param(
            [user(), asks(1), says(1, True), ran(1, approval_request_id="call_1"), answer("Seen.")],
            ["user Go.", "assistant look(1)", "tool 1: seen", "assistant Seen."],
            id="an approved call is the call that ran",
        ),
        pytest.param(
            [user(), asks(1), says(1, False, reason="no"), answer("Well.")],
            [
                "user Go.", "assistant look(1)",
                'tool 1: {"error": "denied", "message": "the call was not approved: no"}', "assistant Well.",
            ],
            id="a denied call was read as denied",
        ),
        pytest.param([user(), asks(1), user("Forget it.")], ["user Go.", "user Forget it."], id="nobody decided"),
    ],
)  # fmt: skip
def test_items_are_these_messages(items: list[Any], messages: list[str]) -> None:
    history = read(*items)
    assert told(history) == messages
    Conversation.read(history.messages)


def test_messages_know_where_they_came_from() -> None:
    history = read(user(), ran(1), call(2), output(2))
    assert history.places == ("input[0]", "input[1]", "input[1]", "input[2]", "input[3]")


def test_only_decisions_that_nobody_answered_are_taken_now() -> None:
    history = read(user(), asks(1), says(1, True), ran(1), asks(2), asks(3), says(2, True), says(3, False, reason="no"))
    assert [(one.call_id, one.approve, one.reason) for one in history.decisions] == [
        ("call_2", True, None), ("call_3", False, "no")
    ]  # fmt: skip
    assert history.decision_places == ("input[6]", "input[7]")


@pytest.mark.parametrize(
    ("items", "place", "words"),
    [
        ([user(), call(1)], "input", "No tool output found for function call call_1."),
        ([user(), call(1), user()], "input", "No tool output found for function call call_1."),
        ([user(), call(1), call(2), output(1)], "input", "No tool output found for function call call_2."),
        ([output(1)], "input[0].call_id", "No tool call found for function call output with call_id call_1."),
        ([call(1), output(1), output(1)], "input[2].call_id", "already answered"),
        ([call(1), output(1), user(), output(1)], "input[3].call_id", "already answered"),
        ([call(1), call(1)], "input[1].call_id", "more than once"),
        ([call(1), {**output(1), "name": "look"}], "input[1].name", "is of the function 'map'"),
        ([{**call(1), "arguments": "[1]"}], "input[0].arguments", "not a JSON object"),
        ([{**ran(1), "arguments": "{"}], "input[0].arguments", "not JSON"),
    ],
)
def test_a_history_that_breaks_a_rule_is_refused_at_its_place(items: list[Any], place: str, words: str) -> None:
    with pytest.raises(RequestError) as refused:
        read(*items)
    assert refused.value.place == place
    assert words in str(refused.value)
