"""What cannot be honoured is refused in OpenAI's shape, naming the place, and nothing in flight is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from grammars.constraint import Constraint
from grammars.conversation import TOOLS_LIMIT
from serving.api.app import ApiOptions
from serving.callers import ApiKey
from serving.engines.scripted import Failure
from serving.execute.registry import Registry
from serving.turn_request import TurnLimits
from tests.serving.api.api_server import Serve, Server, is_text

USER = {"role": "user", "content": "hello"}


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    definition = {"name": name} if parameters is None else {"name": name, "parameters": parameters}
    return {"type": "function", "function": definition}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [USER], **fields}


def post(server: Server, content: bytes | dict[str, Any], **options: Any) -> httpx.Response:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx.post(f"{server.url}/v1/chat/completions", content=data, timeout=20, **options)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error, which must have OpenAI's shape and nothing else."""
    answer = response.json()
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["message"]
    return dict(answer["error"])


def in_schema(schema: Any, name: str = "answer") -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def asked(*calls: Any) -> list[Any]:
    return [USER, {"role": "assistant", "tool_calls": list(calls)}]


BAD_REQUESTS: list[tuple[Any, str | None]] = [
    (b"", None),
    (b"{", None),
    (b'{"model": "scripted", "messages": NaN}', None),
    (b"\xff\xfe", None),
    (b"[" * 100_000, None),
    (b"[]", None),
    (b'"text"', None),
    ({"messages": [USER]}, "model"),
    ({"model": "scripted"}, "messages"),
    (body(messages=[]), "messages"),
    (body(messages="hello"), "messages"),
    (body(messages=[{"role": "user"}]), "messages[0].content"),
    (body(messages=[{"content": "hello"}]), "messages[0].role"),
    (body(messages=[USER, {"role": "function", "content": "x"}]), "messages[1].role"),
    (body(messages=[{"role": "user", "content": 5}]), "messages[0].content"),
    (body(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].type"),
    (body(messages=[{"role": "user", "content": "x", "name": "Ada"}]), "messages[0].name"),
    (body(messages=[{"role": "user", "content": "x", "mood": "good"}]), "messages[0].mood"),
    (body(messages=[USER, {"role": "tool", "content": "x", "tool_call_id": "call_1"}]), "messages[1].tool_call_id"),
    (body(messages=asked(CALL)), "messages[2]"),
    (body(messages=asked(CALL, CALL)), "messages[1].tool_calls"),
    (
        body(messages=asked({**CALL, "function": {"name": "weather", "arguments": "{"}})),
        "messages[1].tool_calls[0].function.arguments",
    ),
    (
        body(messages=asked({**CALL, "function": {"name": "weather", "arguments": "[]"}})),
        "messages[1].tool_calls[0].function.arguments",
    ),
    (
        body(messages=[*asked(CALL), {"role": "tool", "tool_call_id": "call_1", "content": "x", "name": "other"}]),
        "messages[2].name",
    ),
    (body(tools=[tool("weather"), tool("weather")]), "tools[1].function.name"),
    (body(tools=[tool("not a name")]), "tools[0].function.name"),
    (body(tools=[tool("")]), "tools[0].function.name"),
    (body(tools=[tool(f"tool_{number}") for number in range(TOOLS_LIMIT + 1)]), "tools"),
    (body(tools=[tool("server_side")]), "tools[0].function.name"),
    (body(tools=[{"type": "custom", "custom": {"name": "x"}}]), "tools[0].type"),
    (body(tools=[{"type": "function", "function": {"name": "x", "flavour": "sweet"}}]), "tools[0].function.flavour"),
    (body(tools=[tool("x", {"type": "strange"})]), "tools[0].function.parameters"),
    (body(tools=[tool("x"), tool("y", {"$ref": "#/nowhere"})]), "tools[1].function.parameters"),
    (body(tools=[tool("x")], tool_choice="maybe"), "tool_choice"),
    (body(tools=[tool("x")], tool_choice={"type": "function", "function": {"name": "y"}}), "tool_choice"),
    (body(tools=[tool("x")], tool_choice={"type": "function", "function": {}}), "tool_choice.function.name"),
    (body(tools=[tool("x")], tool_choice={"type": "custom", "custom": {"name": "x"}}), "tool_choice.type"),
    (
        body(
            tools=[tool("x")],
            tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        ),
        "tool_choice",
    ),
    (body(tools=[tool("x")], polycall={"min_calls": 3, "max_calls": 2}), "polycall.min_calls"),
    (body(tools=[tool("x")], polycall={"max_calls": 65}), "polycall.max_calls"),
    (body(tools=[tool("x")], polycall={"max_calls": 0}), "polycall.max_calls"),
    (body(tools=[tool("x")], polycall={"exact_tools": ["y"]}), "tool_choice"),
    (body(tools=[tool("x")], polycall={"exact_tools": []}), "polycall.exact_tools"),
    (body(tools=[tool("x")], polycall={"exact_tools": ["x", "x"], "max_calls": 1}), "polycall.exact_tools"),
    (body(tools=[tool("x")], polycall={"exact_tools": ["x"]}, tool_choice="none"), "polycall.exact_tools"),
    (
        body(
            tools=[tool("x")],
            polycall={"exact_tools": ["x"]},
            tool_choice={"type": "function", "function": {"name": "x"}},
        ),
        "polycall.exact_tools",
    ),
    (
        body(
            tools=[tool("x")],
            polycall={"min_calls": 2},
            tool_choice={"type": "function", "function": {"name": "x"}},
        ),
        "polycall.min_calls",
    ),
    (body(tools=[tool("x")], polycall={"min_calls": 2}, parallel_tool_calls=False), "polycall.min_calls"),
    (body(polycall={"decoding": "magic"}), "polycall.decoding"),
    (body(polycall={"mode": "fast"}), "polycall.mode"),
    (body(polycall={"parallel_dependencies": True, "decoding": "sequential"}), "polycall.parallel_dependencies"),
    (body(temperature=3), "temperature"),
    (body(temperature="hot"), "temperature"),
    (body(top_p=0), "top_p"),
    (body(max_tokens=0), "max_tokens"),
    (body(max_tokens=1.5), "max_tokens"),
    (body(max_tokens=5, max_completion_tokens=6), "max_tokens"),
    (body(seed=2**70), "seed"),
    (body(stop=""), "stop"),
    (body(stop=["a"] * 5), "stop"),
    (body(stream_options={"include_usage": True}), "stream_options"),
    (body(stream="yes"), "stream"),
    (body(mystery=1), "mystery"),
    (body(n=0), "n"),
    (body(n=17), "n"),
    (body(logprobs=1), "logprobs"),
    (body(top_logprobs=2), "top_logprobs"),
    (body(logprobs=True, top_logprobs=21), "top_logprobs"),
    (body(logit_bias={"5": 1}), "logit_bias"),
    (body(frequency_penalty=0.5), "frequency_penalty"),
    (body(presence_penalty=-1), "presence_penalty"),
    (body(response_format={"type": "xml"}), "response_format.type"),
    (body(response_format={"type": "json_object", "schema": {}}), "response_format.schema"),
    (body(response_format={"type": "json_schema", "json_schema": {}}), "response_format.json_schema.name"),
    (body(response_format=in_schema({}, name="a b")), "response_format.json_schema.name"),
    (body(response_format=in_schema([])), "response_format.json_schema.schema"),
    (body(response_format=in_schema({"$ref": "https://elsewhere.example"})), "response_format.json_schema.schema"),
    (body(audio={"voice": "x", "format": "wav"}), "audio"),
    (body(modalities=["text", "audio"]), "modalities[1]"),
    (body(prediction={"type": "content", "content": "x"}), "prediction"),
    (body(functions=[{"name": "x"}]), "functions"),
    (body(function_call="auto"), "function_call"),
    (body(web_search_options={}), "web_search_options"),
    (body(moderation={"model": "x"}), "moderation"),
    (body(store=True), "store"),
    (body(service_tier="flex"), "service_tier"),
    (body(reasoning_effort="high"), "reasoning_effort"),
    (body(verbosity="low"), "verbosity"),
]


@pytest.fixture(scope="module")
def busy_server() -> Any:
    """A server with a tool of its own, whose answers take a while."""
    from tests.serving.api.api_server import serving

    registry = Registry()

    @registry.tool()
    def server_side() -> None: ...

    for serve in serving():
        yield serve(["A long answer in flight."], step_s=0.02, registry=registry, context_length=20_000)


class InFlight:
    """A request that is being answered while others go wrong."""

    def __init__(self, server: Server) -> None:
        self._answer: ChatCompletion | None = None
        self._server = server
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> InFlight:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(20)
        assert self._answer is not None
        assert self._answer.choices[0].message.content == "A long answer in flight."

    def _ask(self) -> None:
        messages: Any = [{"role": "user", "content": "hello"}]
        self._answer = self._server.client.chat.completions.create(model="scripted", messages=messages)


def test_every_bad_request_is_a_400_that_names_the_place_while_a_request_in_flight_finishes(
    busy_server: Server,
) -> None:
    with InFlight(busy_server):
        wrong = []
        for content, place in BAD_REQUESTS:
            response = post(busy_server, content)
            found = (response.status_code, error_of(response)["type"], error_of(response)["param"])
            if found != (400, "invalid_request_error", place):
                wrong.append((content, found, error_of(response)["message"]))
        assert wrong == []
    assert busy_server.engine.live_branches == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_longer_than_the_context_is_refused(busy_server: Server, stream: bool) -> None:
    response = post(busy_server, body(messages=[{"role": "user", "content": "x" * 20_000}], stream=stream))
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (400, "messages", "context_length_exceeded")


def test_an_unknown_model_is_404_and_names_the_field(busy_server: Server) -> None:
    response = post(busy_server, body(model="gpt-99"))
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (404, "model", "not_found")
    with pytest.raises(openai.NotFoundError):
        busy_server.client.chat.completions.create(model="gpt-99", messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1/nothing", 404, "not_found"), ("GET", "/v1/chat/completions", 405, "method_not_allowed")],
)
def test_unknown_paths_and_methods_have_the_same_shape(
    hello_server: Server, method: str, path: str, status: int, code: str
) -> None:
    response = httpx.request(method, f"{hello_server.url}{path}")
    assert (response.status_code, error_of(response)["code"]) == (status, code)


NEUTRAL = body(
    n=1, logprobs=False, top_logprobs=None, logit_bias={}, frequency_penalty=0, presence_penalty=0.0, store=False,
    response_format={"type": "text"}, modalities=["text"], service_tier="auto", reasoning_effort=None, audio=None,
    user="ada", metadata={"team": "a"}, prompt_cache_key="k", safety_identifier="s", seed=7, temperature=0.5, top_p=0.9,
    stop=None, max_tokens=50, polycall={}, tools=[], parallel_tool_calls=True, stream=False, stream_options=None,
)  # fmt: skip


def test_fields_at_the_value_that_asks_for_nothing_are_accepted(hello_server: Server) -> None:
    response = post(hello_server, NEUTRAL)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"] == {"role": "assistant", "content": "Hello."}


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "developer", "content": "Be brief."}, USER],
        [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, USER],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
    ],
)
def test_every_form_of_text_message_is_accepted(hello_server: Server, messages: list[Any]) -> None:
    assert post(hello_server, body(messages=messages)).status_code == 200


def test_a_stop_string_ends_the_text_before_itself(serve: Serve) -> None:
    server = serve(["one, two, three"])
    for stop in (" three", [", t", "nothing"]):
        answer = post(server, body(stop=stop)).json()["choices"][0]
        assert answer["message"]["content"] == ("one, two," if stop == " three" else "one")
        assert answer["finish_reason"] == "stop"


# The key, the size, the number.


def test_with_a_key_everything_under_v1_needs_it_and_health_does_not(serve: Serve) -> None:
    server = serve(options=ApiOptions(keys=(ApiKey(key="sesame"),)))
    assert server.client.models.list().data[0].id == "scripted"
    requests: list[Callable[..., httpx.Response]] = [
        lambda **headers: httpx.get(f"{server.url}/v1/models", headers=headers),
        lambda **headers: post(server, body(), headers=headers),
        lambda **headers: post(server, b"not even JSON", headers=headers),
    ]
    for request in requests:
        for headers in ({}, {"Authorization": "Bearer open"}, {"Authorization": "Basic sesame"}):
            response = request(**headers)
            assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key")
            assert response.headers["www-authenticate"] == "Bearer"
    assert post(server, body(), headers={"Authorization": "bearer sesame"}).status_code == 200
    assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413(serve: Serve, chunked: bool) -> None:
    server = serve(options=ApiOptions(body_limit_bytes=1000))
    content = json.dumps(body(messages=[{"role": "user", "content": "x" * 2000}])).encode()
    url = f"{server.url}/v1/chat/completions"
    response = httpx.post(url, content=iter([content]) if chunked else content)
    assert (response.status_code, error_of(response)["code"]) == (413, "request_too_large")
    assert post(server, body()).status_code == 200


def test_more_turns_than_may_run_are_503_with_retry_after_and_the_running_one_finishes(serve: Serve) -> None:
    server = serve(["A long answer in flight."], step_s=0.02, limits=TurnLimits(turns=1))
    with InFlight(server):
        while server.runner.live_turns == 0:
            pass
        for stream in (False, True):
            response = post(server, body(stream=stream))
            assert (response.status_code, error_of(response)["type"]) == (503, "server_error")
            assert error_of(response)["code"] == "overloaded"
            assert int(response.headers["retry-after"]) > 0
    assert post(server, body()).status_code == 200


# Errors that are the model's or the server's.


def test_a_turn_in_which_no_call_could_be_written_is_500_and_says_so(serve: Serve) -> None:
    def script(text: str, _constraint: Constraint) -> str | Failure:
        if text.endswith('"arguments": '):
            return Failure(error="out of memory")
        return "weather: Bern\nweather: Oslo\nend"

    response = post(serve(script), body(tools=[tool("weather", {"type": "object"})]))
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (500, "server_error", "decoding_failed")


def test_one_call_that_could_not_be_written_is_listed_and_its_sibling_is_handed_back(serve: Serve) -> None:
    def script(text: str, _constraint: Constraint) -> str | Failure:
        if not text.endswith('"arguments": '):
            return "weather: Bern\ntime: Oslo\nend"
        return "{}" if text.endswith('{"name": "weather", "arguments": ') else Failure(error="out of memory")

    answer = post(serve(script), body(tools=[tool("weather"), tool("time", {"type": "object"})])).json()
    assert [call["function"]["name"] for call in answer["choices"][0]["message"]["tool_calls"]] == ["weather"]
    [failure] = answer["polycall"]["failures"]
    assert failure["tool"] == "time"
    assert answer["polycall"]["fallbacks"] == 1


def test_an_unforeseen_error_is_500_without_details(serve: Serve) -> None:
    def script(_text: str, _constraint: Constraint) -> str:
        raise KeyError("a secret of the house")

    response = post(serve(script), body())
    error = error_of(response)
    assert (response.status_code, error["type"]) == (500, "server_error")
    assert "secret" not in response.text


def test_an_error_after_the_stream_began_is_an_event_and_the_stream_ends_without_done(serve: Serve) -> None:
    registry = Registry()

    @registry.tool()
    def ping() -> str:
        return "pong"

    def script(text: str, constraint: Constraint) -> str:
        if text.endswith('"arguments": '):
            return "{}"
        if is_text(constraint) or "pong" in text:
            raise RuntimeError("a secret of the house")
        return "ping: it\nend"

    server = serve(script, registry=registry)
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body(stream=True)) as response:
        assert response.status_code == 200
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert "error" in json.loads(lines[-1])
    assert "secret" not in lines[-1]
    assert not any("finish_reason" in line and '"finish_reason":null' not in line for line in lines)
    with pytest.raises(openai.APIError):
        list(
            server.client.chat.completions.create(
                model="scripted", messages=[{"role": "user", "content": "x"}], stream=True
            )
        )
