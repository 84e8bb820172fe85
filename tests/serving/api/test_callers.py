"""Several keys on one server: each caller's model is offered the tools that its caller may use, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from grammars.constraint import Constraint
from serving.api.app import ApiOptions
from serving.callers import ApiKey, Caller
from serving.engines.scripted import Answer
from serving.execute.registry import Registry
from tests.serving.api.api_server import Serve, Server, is_text, serving

KEYS = (
    ApiKey(key="all"),
    ApiKey(key="some", caller=Caller(name="some", allow=("read",))),
    ApiKey(key="none", caller=Caller(name="none", deny=("*",))),
)
USER = {"role": "user", "content": "Read and write."}


def says(_text: str, constraint: Constraint) -> Answer:
    """Text where it may be text, else whatever call the constraint allows."""
    return "Nothing to do." if is_text(constraint) else None


def server_of(serve: Serve) -> Server:
    registry = Registry()

    @registry.tool()
    def read() -> str:
        return "text"

    @registry.tool()
    def write() -> str:
        return "written"

    return serve(says, registry=registry, options=ApiOptions(keys=KEYS))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    for serve in serving():
        yield server_of(serve)


def post(server: Server, key: str, **fields: Any) -> httpx.Response:
    body = {"model": "scripted", "messages": [USER], **fields}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=20)


@pytest.mark.parametrize(
    ("key", "tool", "status"),
    [("all", "read", 200), ("all", "write", 200), ("some", "read", 200), ("some", "write", 400), ("none", "read", 400)],
)
def test_a_tool_that_is_denied_is_not_there(server: Server, key: str, tool: str, status: int) -> None:
    answer = post(server, key, tool_choice={"type": "function", "function": {"name": tool}})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"]["param"] == "tool_choice"
    else:
        names = [call["name"] for call in answer.json()["polycall"]["server_calls"]]
        assert names[0] == tool
        assert key == "all" or set(names) == {tool}


def test_a_client_may_have_a_tool_of_the_name_that_is_denied_to_it(server: Server) -> None:
    own = [{"type": "function", "function": {"name": "write"}}]
    assert post(server, "all", tools=own).status_code == 400
    answer = post(server, "some", tools=own, tool_choice={"type": "function", "function": {"name": "write"}})
    assert [call["function"]["name"] for call in answer.json()["choices"][0]["message"]["tool_calls"]] == ["write"]


def test_a_caller_without_tools_is_answered_in_text(server: Server) -> None:
    assert post(server, "none").json()["choices"][0]["message"]["content"] == "Nothing to do."


def test_other_keys_are_refused(server: Server) -> None:
    assert post(server, "other").status_code == 401
