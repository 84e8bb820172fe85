"""LiteLLM against a running server, over each of the APIs that it writes itself: whole and streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import litellm
import pytest

from tests.serving.api.api_server import Call, Serve, Server

pytestmark = [
    # LiteLLM reads its own models' fields in a way that Pydantic gives up.
    pytest.mark.filterwarnings("ignore:Accessing the 'model_.*' attribute on the instance:DeprecationWarning"),
    # Its own types, read anew by Pydantic when it is first used.
    pytest.mark.filterwarnings("ignore:Items? .* using the `ReadOnly` qualifier:UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _event_loop_of_litellm() -> Iterator[None]:
    """LiteLLM asks for the thread's event loop even where nothing is asynchronous, and never closes it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


USER: Any = {"role": "user", "content": "What is the weather in San Francisco, Tokyo and Paris?"}
CITIES = ["San Francisco", "Tokyo", "Paris"]
WEATHER: list[Call] = [("weather", {"city": city}) for city in CITIES]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city now.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def request(server: Server, **more: Any) -> Any:
    asked = {"messages": [USER], "tools": TOOLS, **more}
    return {
        "model": f"openai/{server.engine.model}",
        "api_base": f"{server.url}/v1",
        "api_key": "no key",
        "max_retries": 0,
        **asked,
    }


def said(answer: Any) -> list[Call]:
    calls = answer.choices[0].message.tool_calls or []
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def test_calls_whole(serve: Serve) -> None:
    answer = litellm.completion(**request(serve([WEATHER])))
    assert said(answer) == WEATHER
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_calls_streamed_and_built_again_equal_the_whole_answer(serve: Serve) -> None:
    server = serve([WEATHER])
    chunks = list(litellm.completion(**request(server, stream=True, stream_options={"include_usage": True})))
    built = litellm.stream_chunk_builder(chunks)
    whole = litellm.completion(**request(server))
    assert said(built) == said(whole) == WEATHER
    assert built.choices[0].finish_reason == whole.choices[0].finish_reason == "tool_calls"
    # With OpenAI's `include_usage` the last chunk has the usage and no choice; the one before it has the reason.
    assert [[choice.finish_reason for choice in chunk.choices] for chunk in chunks][-2:] == [["tool_calls"], []]
    assert built.usage.total_tokens == whole.usage.total_tokens


@pytest.mark.parametrize("count", [0, 1, 2, 8, 32])
def test_any_number_of_calls_comes_whole_and_streamed_alike(serve: Serve, count: int) -> None:
    calls: list[Call] = [("weather", {"city": f"City {number}"}) for number in range(count)]
    asked = request(serve([calls or "No tool can help."]), extra_body={"polycall": {"max_calls": 32}})
    streamed = litellm.stream_chunk_builder(list(litellm.completion(**asked, stream=True)))
    for answer in (litellm.completion(**asked), streamed):
        assert said(answer) == calls
        assert answer.choices[0].message.content == (None if calls else "No tool can help.")


def test_text_streamed(serve: Serve) -> None:
    chunks = list(litellm.completion(**request(serve(["No tool is needed."]), stream=True)))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "No tool is needed."
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_the_async_form_gets_the_same(serve: Serve) -> None:
    server = serve([WEATHER])
    assert said(await litellm.acompletion(**request(server))) == WEATHER
    stream = await litellm.acompletion(**request(server, stream=True))
    assert said(litellm.stream_chunk_builder([chunk async for chunk in stream])) == WEATHER


def test_results_go_back_and_the_next_answer_is_text(serve: Serve) -> None:
    server = serve([WEATHER, "Mild in all three."])
    message = litellm.completion(**request(server)).choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "12 degrees"} for call in message.tool_calls]
    answer = litellm.completion(**request(server, messages=[USER, message, *results]))
    assert answer.choices[0].message.content == "Mild in all three."


def test_parallel_tool_calls_false_is_at_most_one_call(serve: Serve) -> None:
    server = serve(lambda _text, _constraint: None)
    for seed in range(3):
        answer = litellm.completion(**request(server, parallel_tool_calls=False, tool_choice="required", seed=seed))
        assert len(said(answer)) == 1


def test_the_extension_goes_as_extra_body_and_comes_back_in_the_answer(serve: Serve) -> None:
    server = serve(lambda _text, _constraint: None)
    answer = litellm.completion(
        **request(server, tool_choice="required", extra_body={"polycall": {"min_calls": 3, "decoding": "sequential"}})
    )
    assert len(said(answer)) >= 3
    assert answer.polycall["decoding"] == "sequential"


def test_a_refusal_is_litellms_bad_request_with_the_servers_words(serve: Serve) -> None:
    call = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    asked = request(serve(), messages=[USER, {"role": "assistant", "content": None, "tool_calls": [call]}, USER])
    with pytest.raises(litellm.BadRequestError, match="did not have response messages: call_a"):
        litellm.completion(**asked)


# LiteLLM writes other APIs too: what it takes for Anthropic's, Google's and OpenAI's Responses, the server answers.


def over(server: Server, provider: str, base: str, **more: Any) -> Any:
    return {**request(server, **more), "model": f"{provider}/{server.engine.model}", "api_base": base}


def test_calls_over_anthropics_api_whole_and_streamed(serve: Serve) -> None:
    server = serve([WEATHER, "Mild in all three."])
    asked = over(server, "anthropic", server.url)
    message = litellm.completion(**asked).choices[0].message
    built = litellm.stream_chunk_builder(list(litellm.completion(**asked, stream=True)))
    assert said(built) == WEATHER
    results = [{"role": "tool", "tool_call_id": call.id, "content": "12 degrees"} for call in message.tool_calls]
    answer = litellm.completion(**over(server, "anthropic", server.url, messages=[USER, message, *results]))
    assert answer.choices[0].message.content == "Mild in all three."


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")  # LiteLLM's, of the calls that it reads
def test_calls_over_googles_api_whole_and_streamed(serve: Serve) -> None:
    server = serve([WEATHER, "Mild in all three."])
    base = f"{server.url}/v1beta"
    message = litellm.completion(**over(server, "gemini", base)).choices[0].message
    built = litellm.stream_chunk_builder(list(litellm.completion(**over(server, "gemini", base), stream=True)))
    assert said(built) == WEATHER
    results = [{"role": "tool", "tool_call_id": call.id, "content": "12 degrees"} for call in message.tool_calls]
    answer = litellm.completion(**over(server, "gemini", base, messages=[USER, message, *results]))
    assert answer.choices[0].message.content == "Mild in all three."


def test_calls_over_responses(serve: Serve) -> None:
    server = serve([WEATHER])
    tools = [{"type": "function", **TOOLS[0]["function"]}]
    asked = {"model": f"openai/{server.engine.model}", "api_base": f"{server.url}/v1", "api_key": "no key"}
    answer = litellm.responses(**asked, input=USER["content"], tools=tools)
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == WEATHER
