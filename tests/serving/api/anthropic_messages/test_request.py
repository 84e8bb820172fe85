"""A body of Anthropic's Messages: every field is honoured, or refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaParams
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsBase

from grammars.branch import Sampling
from grammars.conversation import Choice
from grammars.errors import RequestError
from serving.api.anthropic_messages.error import anthropic_error
from serving.api.anthropic_messages.request import read_messages_request, read_prompt, turn_request
from serving.api.anthropic_messages.wire import MessagesRequest, Prompt
from serving.api.errors import Fault, fault_of
from serving.turn_request import TurnRequest

USER = {"role": "user", "content": "Hello."}
TOOL: dict[str, Any] = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
PLAIN: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": [USER]}


def read(**fields: Any) -> TurnRequest:
    """The request of a body with these fields."""
    asked = read_messages_request(json.dumps({**PLAIN, **fields}).encode())
    return turn_request(asked, server_has_tools=False, decoding="parallel")[0]


def refused(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(**fields)
    return caught.value


# Fields


def test_every_field_of_the_published_requests_has_its_place() -> None:
    headers = {"betas", "workspace_id"}
    stream = {"stream"}
    older = {"temperature", "top_p", "top_k", "output_format"}
    published = {*MessageCreateParamsBase.__annotations__, *BetaParams.__annotations__} - headers
    assert set(MessagesRequest.model_fields) == published | stream | older | {"polycall"}
    counted = set(MessageCountTokensParams.__annotations__) - headers
    assert set(Prompt.model_fields) >= counted


def test_max_tokens_temperature_top_p_and_stop_sequences_are_honoured() -> None:
    round = read(max_tokens=7, temperature=0.5, top_p=0.9, stop_sequences=["END", "\n\n"]).round
    assert (round.max_tokens, round.stop) == (7, ("END", "\n\n"))
    assert round.sampling == Sampling(temperature=0.5, top_p=0.9)
    assert read().round.sampling == Sampling()


def test_a_schema_of_the_answer_is_honoured() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert read(output_config={"format": {"type": "json_schema", "schema": schema}}).round.answer_schema == schema
    assert read(output_format={"type": "json_schema", "schema": schema}).round.answer_schema == schema
    assert read(output_config={}).round.answer_schema is None


def test_the_extension_is_honoured() -> None:
    asked = read(tools=[TOOL], polycall={"min_calls": 2, "max_calls": 3, "decoding": "sequential"})
    assert (asked.choice, asked.round.decoding) == (Choice(least=2, most=3), "sequential")


def test_a_tool_is_read_with_its_examples() -> None:
    examples = [{"city": "Bern"}, {"city": "Oslo"}]
    [tool] = read(tools=[{**TOOL, "description": "The weather.", "input_examples": examples}]).tools
    assert tool.parameters == TOOL["input_schema"]
    assert tool.description.splitlines() == [
        "The weather.",
        'Example of arguments: {"city": "Bern"}',
        'Example of arguments: {"city": "Oslo"}',
    ]
    assert read(tools=[TOOL]).tools[0].description == ""


CACHE = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"user_id": "somebody"}},
        {"metadata": {}},
        {"service_tier": "auto"},
        {"service_tier": "standard_only"},
        {"speed": "standard"},
        {"thinking": {"type": "disabled"}},
        {"stream": False, "system": None, "tools": None, "tool_choice": None, "stop_sequences": []},
        {"mcp_servers": [], "container": None, "top_k": None, "thread": None, "fallbacks": None},
        {**CACHE, "system": [{"type": "text", "text": "Be kind.", **CACHE}], "tools": [{**TOOL, **CACHE}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello.", **CACHE, "citations": None}]}]},
        {"tools": [{**TOOL, "type": "custom", "strict": True, "eager_input_streaming": True, "defer_loading": False}]},
        {"tools": [{**TOOL, "allowed_callers": ["direct"]}]},
    ],
)
def test_what_asks_for_nothing_more_is_accepted(fields: dict[str, Any]) -> None:
    assert read(**fields).round == read().round


FORMAT = {"type": "json_schema", "schema": {}}
IMAGE = {"type": "image", "source": {"type": "url", "url": "http://x"}}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"model": None}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "7"}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 5}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"stop_sequences": ["x"] * 129}, "stop_sequences"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
        ({"thinking": {"type": "adaptive"}}, "thinking.type"),
        ({"speed": "fast"}, "speed"),
        ({"container": "container_1"}, "container"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"output_format": FORMAT, "output_config": {"format": FORMAT}}, "output_format"),
        ({"context_management": {}}, "context_management"),
        ({"thread": {"type": "continue"}}, "thread.previous_message_id"),
        ({"thread": {"type": "fork"}}, "thread.type"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": []}, "messages"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{**TOOL, "type": "bash_20250124"}]}, "tools[0].type"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "none", "disable_parallel_tool_use": True}}, "tool_choice"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"polycall": {"min_calls": -1}}, "polycall.min_calls"),
        ({"polycall": {"parallel_dependencies": True, "decoding": "sequential"}}, "polycall.parallel_dependencies"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(fields: dict[str, Any], place: str) -> None:
    error = refused(**fields)
    assert str(error.place).startswith(place)
    assert anthropic_error(fault_of(error))["error"]["message"].startswith(place)


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"model": "m"}', b'{"max_tokens": NaN}'])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        read_messages_request(body)


def test_an_answer_that_should_be_gone_on_with_is_refused_unless_approvals_come_with_it() -> None:
    prefill = [USER, {"role": "assistant", "content": "The answer is ("}]
    error = refused(messages=prefill)
    assert "must end with a user message" in str(error)
    assert error.place == "messages[1]"
    approvals = [{"approval_request_id": "call_1", "approve": True}]
    assert read(messages=prefill, polycall={"approvals": approvals}).messages[-1].role == "assistant"


def test_count_tokens_takes_the_prompt_and_nothing_else() -> None:
    prompt = {"model": "m", "messages": [USER], "system": "Be kind.", "tools": [TOOL], "tool_choice": {"type": "any"}}
    assert read_prompt(json.dumps(prompt).encode()).model == "m"
    with pytest.raises(RequestError) as caught:
        read_prompt(json.dumps({**prompt, "max_tokens": 7}).encode())
    assert caught.value.place == "max_tokens"


# A1 and A8: the choice


@pytest.mark.parametrize(
    ("tool_choice", "choice"),
    [
        (None, Choice()),
        ({"type": "auto"}, Choice()),
        ({"type": "auto", "disable_parallel_tool_use": False}, Choice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, Choice(most=1)),
        ({"type": "any"}, Choice(mode="required")),
        ({"type": "any", "disable_parallel_tool_use": True}, Choice(mode="required", most=1)),
        ({"type": "tool", "name": "weather"}, Choice(mode="required", allowed=frozenset({"weather"}))),
        (
            {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            Choice(mode="required", allowed=frozenset({"weather"}), most=1),
        ),
        ({"type": "none"}, Choice(mode="none")),
    ],
)
def test_tool_choice_becomes_the_choice(tool_choice: dict[str, Any] | None, choice: Choice) -> None:
    assert read(tools=[TOOL], tool_choice=tool_choice).choice == choice


# Errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
    ],
)
def test_error_has_the_type_of_its_status(status: int, kind: str) -> None:
    body = anthropic_error(Fault(status=status, code="c", message="wrong", place="model", request_id="req_1"))
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": "model: wrong", "details": {"error_code": "c", "param": "model"}},
        "request_id": "req_1",
    }


def test_error_without_a_place_says_none() -> None:
    body = anthropic_error(Fault(status=500, code="c", message="wrong"))
    assert body["error"] == {"type": "api_error", "message": "wrong", "details": {"error_code": "c"}}
