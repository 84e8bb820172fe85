"""Answers as JSON beside tools, how likely their tokens were, and the usage, as the real client reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import BadRequestError
from pydantic import BaseModel

from serving.execute.registry import Registry
from tests.serving.api.api_server import Serve, Server, serving
from tests.serving.api.openai_chat.chat import TOOLS, USER, ask, calls_of, stream

EITHER = pytest.mark.parametrize("decoding", ["parallel", "sequential"])


class Forecast(BaseModel):
    """What the weather will be."""

    city: str
    days: int


OSLO = '{"city": "Oslo", "days": 3}'
CALLS = [("weather", {"city": "Bern"}), ("time_of_day", {"city": "Oslo"})]


def in_schema(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


def marked_strict(tool: Any) -> Any:
    """The tool as the client wants it where it parses: marked as strict."""
    return {**tool, "function": {**tool["function"], "strict": True}}


FORECAST = in_schema(Forecast.model_json_schema(), strict=True)


@pytest.fixture(scope="module")
def answering() -> Iterator[Server]:
    for serve in serving():
        yield serve([OSLO])


# A schema for the answer


@EITHER
def test_answer_beside_tools_is_parsed_into_the_clients_own_class(answering: Server, decoding: str) -> None:
    answer = answering.client.chat.completions.parse(
        model="scripted",
        messages=[USER],
        tools=[marked_strict(tool) for tool in TOOLS],
        response_format=Forecast,
        extra_body={"polycall": {"decoding": decoding}},
    )
    assert answer.choices[0].message.parsed == Forecast(city="Oslo", days=3)
    assert answer.choices[0].finish_reason == "stop"


@EITHER
def test_calls_beside_a_schema_are_those_without_it(serve: Serve, decoding: str) -> None:
    server = serve([CALLS])
    for asked in ({}, {"response_format": FORECAST}):
        answer = ask(server, tools=TOOLS, extra_body={"polycall": {"decoding": decoding}}, **asked)
        assert calls_of(answer) == CALLS
        assert answer.choices[0].message.content is None


@EITHER
def test_streamed_answer_is_parsed_by_the_clients_helper(answering: Server, decoding: str) -> None:
    with answering.client.chat.completions.stream(
        model="scripted", messages=[USER], response_format=Forecast, extra_body={"polycall": {"decoding": decoding}}
    ) as events:
        final = events.get_final_completion()
    assert final.choices[0].message.parsed == Forecast(city="Oslo", days=3)


def test_answer_after_the_servers_own_tools_ran_is_in_the_schema(serve: Serve) -> None:
    tools = Registry()

    @tools.tool()
    async def weather(city: str) -> str:
        """The weather in a city."""
        return f"{city}: 3 days of sun"

    server = serve([[("weather", {"city": "Oslo"})], OSLO], registry=tools)
    answer = ask(server, response_format=FORECAST)
    assert Forecast.model_validate_json(str(answer.choices[0].message.content)) == Forecast(city="Oslo", days=3)
    assert len((answer.model_extra or {})["polycall"]["server_calls"]) == 1


@pytest.mark.parametrize("schema", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "any"}}])
def test_without_a_schema_the_answer_is_some_object(serve: Serve, schema: dict[str, Any]) -> None:
    server = serve(lambda _text, _constraint: None)  # whatever the grammar lets it write
    answer = ask(server, response_format=schema, max_tokens=400, seed=4)
    assert isinstance(json.loads(str(answer.choices[0].message.content)), dict)


def test_schema_that_is_refused_is_named_with_pointer_and_keyword(answering: Server) -> None:
    schema = {"type": "object", "properties": {"a": {"minimum": "three"}}}
    with pytest.raises(BadRequestError) as refused:
        ask(answering, response_format=in_schema(schema), tools=TOOLS)
    assert refused.value.param == "response_format.json_schema.schema"
    assert "'/properties/a'" in refused.value.message
    assert "'minimum'" in refused.value.message


def test_what_is_said_about_the_schema_is_for_the_model(serve: Serve) -> None:
    read: list[str] = []

    def script(text: str, _constraint: Any) -> str:
        read.append(text)
        return OSLO

    ask(serve(script), response_format=in_schema(Forecast.model_json_schema(), description="For a sailor."))
    assert "For a sailor.\\nWhat the weather will be." in read[0]


# How likely each token was


def test_logprobs_spell_the_answer_and_are_the_same_whole_and_streamed(serve: Serve) -> None:
    server = serve(["Grüß Gott."])
    [whole] = ask(server, logprobs=True, top_logprobs=2).choices
    assert whole.logprobs is not None
    tokens = whole.logprobs.content or []
    assert b"".join(bytes(token.bytes or ()) for token in tokens).decode() == whole.message.content
    assert all(len(token.top_logprobs) == 2 and token.logprob < 0 for token in tokens)
    chunks = stream(server, logprobs=True, top_logprobs=2)
    streamed = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices]
    assert [token for likely in streamed if likely for token in likely.content or []] == tokens


def test_logprobs_without_alternatives_list_none(answering: Server) -> None:
    [choice] = ask(answering, logprobs=True).choices
    assert choice.logprobs is not None
    assert all(token.top_logprobs == [] for token in choice.logprobs.content or [None])


def test_calls_have_no_logprobs_and_nobody_gets_them_unasked(serve: Serve, answering: Server) -> None:
    [choice] = ask(serve([CALLS]), tools=TOOLS, logprobs=True, top_logprobs=1).choices
    assert (len(choice.message.tool_calls or ()), choice.logprobs) == (2, None)
    assert ask(answering).choices[0].logprobs is None


def test_answer_that_is_given_again_has_its_logprobs_too(serve: Serve) -> None:
    server = serve(["Grüß Gott."])
    key = {"Idempotency-Key": "once"}
    first, again = [ask(server, logprobs=True, top_logprobs=1, extra_headers=key) for _ in range(2)]
    assert first == again
    assert first.choices[0].logprobs is not None


# The usage


def test_usage_tells_what_of_the_prompt_was_held_from_before(serve: Serve) -> None:
    server = serve(["Hello."])
    first, second = ask(server).usage, ask(server).usage
    chunks = stream(server, stream_options={"include_usage": True})
    assert first is not None
    assert second is not None
    assert first.prompt_tokens_details is not None
    assert second.prompt_tokens_details is not None
    assert first.prompt_tokens_details.cached_tokens == 0
    assert 0 < (second.prompt_tokens_details.cached_tokens or 0) <= second.prompt_tokens
    assert chunks[-1].usage == second
