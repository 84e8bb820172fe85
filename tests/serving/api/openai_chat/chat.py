"""Asking a running server over Chat Completions with the real client, for the tests of this wire."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.serving.api.api_server import Server

USER: Any = {"role": "user", "content": "What is the weather in Bern and Oslo?"}


def function(name: str, **more: Any) -> Any:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 30}},
        "required": ["city"],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


TOOLS = [function("weather"), function("time_of_day", strict=True)]
THREE = [("weather", {"city": "Bern"}), ("time_of_day", {"city": "Bern"}), ("weather", {"city": 'O"slo — 世界'})]


def ask(server: Server, **request: Any) -> ChatCompletion:
    answer = server.client.chat.completions.create(
        **{"model": server.engine.model, "messages": [USER], **request}, stream=False
    )
    assert isinstance(answer, ChatCompletion)
    return answer


def stream(server: Server, **request: Any) -> list[ChatCompletionChunk]:
    with server.client.chat.completions.create(
        **{"model": server.engine.model, "messages": [USER], **request}, stream=True
    ) as chunks:
        return list(chunks)


def raw_lines(server: Server, **request: Any) -> list[str]:
    """The data of each server-sent event, as it stands on the wire."""
    body = {"model": server.engine.model, "messages": [USER], "stream": True, **request}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]


def calls_of(answer: ChatCompletion) -> list[tuple[str, Any]]:
    return [
        (call.function.name, json.loads(call.function.arguments)) for call in answer.choices[0].message.tool_calls or []
    ]


def deltas(chunks: Iterable[ChatCompletionChunk]) -> list[Any]:
    return [part for chunk in chunks for choice in chunk.choices for part in choice.delta.tool_calls or []]


def names(calls: Iterable[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in calls]


def result(call_id: str, text: str = "12 degrees") -> Any:
    return {"role": "tool", "tool_call_id": call_id, "content": text}
