"""A body becomes what a turn is asked, or is refused by the field at fault."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grammars.errors import RequestError
from serving.api.openai_responses.request import Asked, read_responses, turn_request

TOOL = {"type": "function", "name": "map"}


def asked(**fields: Any) -> Asked:
    body = json.dumps({"model": "m", "input": "Hello?", **fields}).encode()
    return turn_request(read_responses(body), (), server_has_tools=False, decoding="parallel")


def test_what_is_asked_reaches_the_turn() -> None:
    turn = asked(
        instructions="Be kind.",
        tools=[{**TOOL, "description": "A map.", "strict": True}],
        parallel_tool_calls=False,
        max_output_tokens=9,
        max_tool_calls=2,
        temperature=0.5,
        top_p=0.9,
        include=["message.output_text.logprobs"],
        top_logprobs=3,
        polycall={"decoding": "sequential"},
    ).turn
    assert [(message.role, message.text) for message in turn.messages] == [("system", "Be kind."), ("user", "Hello?")]
    assert [(tool.name, tool.description) for tool in turn.tools] == [("map", "A map.")]
    assert turn.choice is not None
    assert turn.choice.most == 1
    assert (turn.round.max_tokens, turn.round.logprobs, turn.round.decoding) == (9, 3, "sequential")
    assert (turn.round.sampling.temperature, turn.round.sampling.top_p) == (0.5, 0.9)
    assert turn.most_server_calls == 2


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "name": "n", "schema": {"type": "array"}, "strict": True}, {"type": "array"}),
    ],
)
def test_the_format_of_the_text_is_its_schema(form: Any, schema: Any) -> None:
    assert asked(text={"format": form}).turn.round.answer_schema == schema


@pytest.mark.parametrize(
    "fields",
    [
        {"background": False}, {"truncation": "disabled"}, {"service_tier": "auto"}, {"store": True},
        {"reasoning": {"effort": "none"}}, {"text": {"verbosity": "medium"}}, {"top_logprobs": 0},
        {"include": ["reasoning.encrypted_content"]}, {"conversation": None}, {"metadata": {"a": "b"}},
        {"stream": True, "stream_options": {"include_obfuscation": False}}, {"prompt_cache_key": "k"},
    ],
)  # fmt: skip
def test_what_asks_for_nothing_is_accepted(fields: dict[str, Any]) -> None:
    assert asked(**fields).turn == asked().turn


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"include": ["everything"]}, "include[0]"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream_options": {}}, "stream_options"),
        ({"seed": 1}, "seed"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"metadata": {"a": "b" * 513}}, "metadata.a"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
         "input[0].content[0].type"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": 1}, "input"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_its_name(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(RequestError) as refused:
        asked(**fields)
    assert refused.value.place == place


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("messages[0]", "instructions"),
        ("messages[1]", "input[0]"),
        ("messages[2].tool_calls[1].function.arguments", "input[2].arguments"),
        ("messages[3].tool_call_id", "input[3].call_id"),
        ("tools[1].function.parameters", "tools[2].parameters"),
        ("servers[0].server_url", "tools[1].server_url"),
        ("polycall.approvals[0].approval_request_id", "input[5].approval_request_id"),
        ("polycall.approvals", "input"),
        ("response_format.json_schema.schema", "text.format.schema"),
    ],
)
def test_what_the_turn_speaks_of_has_a_place_in_the_body(ours: str, theirs: str) -> None:
    calls = [{"type": "function_call", "call_id": f"call_{n}", "name": "map", "arguments": "{}"} for n in (1, 2)]
    outputs = [{"type": "function_call_output", "call_id": f"call_{n}", "output": "x"} for n in (1, 2)]
    decided = {"type": "mcp_approval_response", "approval_request_id": "call_3", "approve": True}
    server = {"type": "mcp", "server_label": "house", "server_url": "polycall"}
    request = asked(
        instructions="Be kind.",
        input=[{"role": "user", "content": "Go."}, *calls, *outputs, decided],
        tools=[TOOL, server, {**TOOL, "name": "other"}],
    )
    assert request.places.of(ours) == theirs
