"""OpenAI's own package for Node against a running server: both of OpenAI's APIs, their stream helpers and runners.

Each program in `node/` asks everything once, and the tests read what it got.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from grammars.constraint import Constraint
from serving.engines.scripted import Answer
from tests.serving.api.api_server import Rounds, Server, serving
from tests.wires.node_client import run

COUNTS = [0, 1, 2, 8, 32]


def many(count: int) -> list[tuple[str, dict[str, Any]]]:
    return [("weather", {"city": f"City {number}"}) for number in range(count)]


def as_asked(text: str, constraint: Constraint) -> Answer:
    """As many calls as the question asks for, then text; whatever the grammar allows where it asks for no number."""
    asked = re.search(r"Make (\d+) calls\.", text)
    return Rounds([many(int(asked[1])) or "None is needed.", "Done."])(text, constraint) if asked else None


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    for serve in serving():
        yield serve(as_asked)


@pytest.fixture(scope="module")
def chat(server: Server) -> dict[str, Any]:
    return run("chat.cjs", server.url, server.engine.model)


@pytest.fixture(scope="module")
def responses(server: Server) -> dict[str, Any]:
    return run("responses.cjs", server.url, server.engine.model)


def as_json(count: int) -> list[list[Any]]:
    return [[name, arguments] for name, arguments in many(count)]


@pytest.mark.parametrize("count", COUNTS)
def test_chat_whole_has_every_call(chat: dict[str, Any], count: int) -> None:
    assert chat["counts"][str(count)]["whole"] == {
        "calls": as_json(count),
        "text": None if count else "None is needed.",
        "reason": "tool_calls" if count else "stop",
    }


@pytest.mark.parametrize("count", COUNTS)
def test_chat_stream_helper_ends_each_call_in_order_and_equals_the_whole_answer(
    chat: dict[str, Any], count: int
) -> None:
    got = chat["counts"][str(count)]
    done = [[name, index, arguments] for index, (name, arguments) in enumerate(many(count))]
    assert got["streamed"] == got["whole"] | {"done": done}


def test_chat_parallel_tool_calls_false_is_one_call(chat: dict[str, Any]) -> None:
    assert len(chat["single"]["calls"]) == 1


@pytest.mark.parametrize("form", ["whole", "streamed"])
def test_chat_run_tools_runs_every_call_and_ends_in_text(chat: dict[str, Any], form: str) -> None:
    assert chat["runners"][form] == {"text": "Done.", "ran": ["City 0", "City 1", "City 2"]}


def test_chat_refusal_is_the_clients_own_error_with_the_field(chat: dict[str, Any]) -> None:
    refused = chat["refused"]
    assert refused["is"] is True
    assert refused["param"] == "messages[2]"
    assert "did not have response messages: call_a" in refused["message"]


@pytest.mark.parametrize("count", COUNTS)
def test_responses_whole_has_every_call(responses: dict[str, Any], count: int) -> None:
    assert responses["counts"][str(count)]["whole"] == {
        "calls": as_json(count),
        "text": "" if count else "None is needed.",
        "status": "completed",
    }


@pytest.mark.parametrize("count", COUNTS)
def test_responses_stream_helper_equals_the_whole_answer(responses: dict[str, Any], count: int) -> None:
    got = responses["counts"][str(count)]
    events = {"rising": True, "done": [arguments for _, arguments in many(count)]}
    assert got["streamed"] == got["whole"] | events


def test_responses_parallel_tool_calls_false_is_one_call(responses: dict[str, Any]) -> None:
    assert len(responses["single"]["calls"]) == 1


def test_responses_go_on_from_the_one_before(responses: dict[str, Any]) -> None:
    assert responses["continued"] == {"calls": [], "text": "Done.", "status": "completed"}


@pytest.mark.parametrize("form", ["whole", "eager"])
def test_responses_tool_runner_runs_every_call_and_ends_in_text(responses: dict[str, Any], form: str) -> None:
    ran = responses["runners"][form]
    assert (ran["text"], sorted(ran["ran"])) == ("Done.", ["City 0", "City 1", "City 2"])
