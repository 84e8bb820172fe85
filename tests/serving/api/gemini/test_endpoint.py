"""Gemini's endpoints on a running server, as they stand on the wire: forms of a stream, errors in it, keys, replays."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from sse_starlette import EventSourceResponse

from serving.api.app import ApiOptions
from serving.callers import ApiKey
from serving.engines.scripted import ScriptedEngine
from serving.execute.registry import Registry
from tests.serving.api.api_server import Call, Serve, Server, is_text

WEATHER: list[Call] = [("weather", {"city": city}) for city in ("Bern", "Oslo")]
TOOLS: dict[str, Any] = {"tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": {}}]}]}
CONTENTS: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "How is the weather?"}]}]}


def post(server: Server, method: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    url = f"{server.url}/v1beta/models/scripted:{method}"
    return httpx.post(url, json={**CONTENTS, **(body or {})}, headers=headers, timeout=20)


def parts(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]


def called(chunks: list[dict[str, Any]]) -> list[Call]:
    calls = [part["functionCall"] for part in parts(chunks) if "functionCall" in part]
    return [(call["name"], call["args"]) for call in calls]


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of server-sent events."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\r\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


# Forms of a stream


def test_a_stream_is_events_with_alt_sse_and_an_array_without(serve: Serve) -> None:
    server = serve([WEATHER])
    for form in ("", "?alt=json"):
        array = post(server, f"streamGenerateContent{form}", TOOLS)
        assert array.headers["content-type"] == "application/json"
        assert called(array.json()) == WEATHER
    assert called(events(post(server, "streamGenerateContent?alt=sse", TOOLS))) == WEATHER


def test_another_form_is_refused_by_its_name(hello_server: Server) -> None:
    error = post(hello_server, "streamGenerateContent?alt=proto").json()["error"]
    assert error["details"][1]["fieldViolations"][0]["field"] == "alt"


def test_a_silent_stream_is_kept_alive_by_empty_lines(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventSourceResponse, "DEFAULT_PING_INTERVAL", 0.02)
    response = post(serve(["Hello."], step_s=0.1), "streamGenerateContent?alt=sse")
    assert "".join(part["text"] for part in parts(events(response))) == "Hello."
    assert "\r\n\r\n\r\n" in response.text


@pytest.mark.parametrize("form", ["alt=sse", "alt=json"])
def test_a_client_that_leaves_a_stream_frees_its_branches(serve: Serve, form: str) -> None:
    server = serve(["A very long answer. " * 200], step_s=0.05)
    url = f"{server.url}/v1beta/models/scripted:streamGenerateContent?{form}"
    with httpx.stream("POST", url, json=CONTENTS, timeout=20) as response:
        pieces = response.iter_bytes()  # held: an iterator that is collected closes the connection
        next(pieces)
        assert server.engine.live_branches == 1
    deadline_s = time.monotonic() + 5
    while server.engine.live_branches or server.runner.live_turns:
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


# Errors


def breaks_in_the_second_round(serve: Serve) -> Server:
    registry = Registry()

    @registry.tool()
    def ping() -> str:
        return "pong"

    def script(text: str, constraint: Any) -> str:
        if text.endswith('"arguments": '):
            return "{}"
        if is_text(constraint) or "pong" in text:
            raise RuntimeError("a secret of the house")
        return "ping: it\nend"

    return serve(script, registry=registry)


def test_an_error_after_the_stream_began_ends_it_in_either_form(serve: Serve) -> None:
    server = breaks_in_the_second_round(serve)
    array = post(server, "streamGenerateContent")
    assert array.status_code == 200
    for last in (array.json()[-1], events(post(server, "streamGenerateContent?alt=sse"))[-1]):
        assert (last["error"]["code"], last["error"]["status"]) == (500, "INTERNAL")
        assert "secret" not in json.dumps(last)


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("v1beta/models/scripted:embedContent", 405, "UNIMPLEMENTED"),
        ("v1/models/gemini-9:generateContent", 404, "NOT_FOUND"),
        ("v1alpha/models/gemini-9:countTokens", 404, "NOT_FOUND"),
        ("v1beta/cachedContents", 404, "NOT_FOUND"),
    ],
)
def test_what_is_not_here_is_said_in_googles_shape(hello_server: Server, path: str, status: int, name: str) -> None:
    answer = httpx.post(f"{hello_server.url}/{path}", json=CONTENTS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)
    assert answer.json()["error"]["status"] == name


def test_a_body_that_is_no_json_is_refused(hello_server: Server) -> None:
    answer = httpx.post(f"{hello_server.url}/v1beta/models/scripted:generateContent", content=b"{")
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_errors_of_the_conversation_are_placed_in_the_clients_terms(hello_server: Server) -> None:
    twice = {"tools": [{"functionDeclarations": [{"name": "a"}]}, {"functionDeclarations": [{"name": "a"}]}]}
    whole, counted = (
        post(hello_server, "generateContent", twice),
        httpx.post(
            f"{hello_server.url}/v1beta/models/scripted:countTokens",
            json={"generateContentRequest": {**CONTENTS, **twice}},
        ),
    )
    place = "tools[1].functionDeclarations[0].name"
    for answer, expected in ((whole, place), (counted, f"generateContentRequest.{place}")):
        assert answer.json()["error"]["details"][1]["fieldViolations"][0]["field"] == expected


# Keys and replays


@pytest.mark.parametrize("path", ["v1beta/models", "v1/models"])
def test_a_key_is_taken_where_googles_clients_send_it(serve: Serve, path: str) -> None:
    server = serve(options=ApiOptions(keys=(ApiKey(key="sesame"),)))
    refused = httpx.get(f"{server.url}/{path}", headers={"x-goog-api-key": "open"})
    assert (refused.status_code, refused.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert "models" in httpx.get(f"{server.url}/{path}", headers={"x-goog-api-key": "sesame"}).json()


def test_the_same_idempotency_key_gives_the_same_answer_whole_and_streamed(serve: Serve) -> None:
    server = serve([WEATHER])
    headers = {"Idempotency-Key": "one"}
    first = post(server, "generateContent", TOOLS, **headers)
    again = post(server, "streamGenerateContent", TOOLS, **headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert parts([first.json()]) == parts(again.json())[:-1]
    assert first.json()["responseId"] == again.json()[0]["responseId"]
    assert first.json()["polycall"] == again.json()[-1]["polycall"]


def test_an_idempotency_key_stands_for_one_model_too(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedEngine, "adapters", ("other",))
    server = serve([WEATHER])
    headers = {"Idempotency-Key": "one"}
    assert post(server, "generateContent", TOOLS, **headers).status_code == 200
    url = f"{server.url}/v1beta/models/other:generateContent"
    assert httpx.post(url, json={**CONTENTS, **TOOLS}, headers=headers, timeout=20).status_code == 422


# Models


def test_models_come_in_pages_where_the_client_wants_them(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedEngine, "adapters", ("a", "b"))
    server = serve()
    url = f"{server.url}/v1beta/models"
    first = httpx.get(url, params={"pageSize": 2}).json()
    rest = httpx.get(url, params={"pageSize": 2, "pageToken": first["nextPageToken"]}).json()
    assert [model["name"] for model in (*first["models"], *rest["models"])] == [
        "models/scripted", "models/a", "models/b"
    ]  # fmt: skip
    assert "nextPageToken" not in rest
    assert httpx.get(f"{url}/a").json() == first["models"][1]
    refused = httpx.get(url, params={"pageSize": "many"})
    assert refused.json()["error"]["details"][1]["fieldViolations"][0]["field"] == "pageSize"
