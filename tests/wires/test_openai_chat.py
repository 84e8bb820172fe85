"""OpenAI's Chat Completions with the real client. C1 to C11 are the rules that clients of this wire rely on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import pydantic_function_tool
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.serving.api.api_server import Serve, Server
from tests.serving.api.openai_chat.chat import (
    THREE,
    TOOLS,
    USER,
    ask,
    calls_of,
    deltas,
    function,
    names,
    raw_lines,
    result,
    stream,
)

# Text and calls, whole and streamed.


def test_text_whole(serve: Serve) -> None:
    answer = ask(serve(["It is fine."]), tools=TOOLS)
    assert answer.choices[0].message.content == "It is fine."
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_text_streamed_comes_in_pieces_that_join_to_the_text(serve: Serve) -> None:
    chunks = stream(serve(["It is fine — 世界."]))
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert "".join(pieces) == "It is fine — 世界."
    assert len(pieces) > 5
    assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1
    assert chunks[0].choices[0].delta.role == "assistant"


def test_an_empty_text_is_an_empty_string_both_ways(serve: Serve) -> None:
    server = serve([""])
    assert ask(server).choices[0].message.content == ""
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream(server)) == ""


def many(count: int) -> list[tuple[str, Any]]:
    """So many calls of two tools, no two of them alike."""
    return [(("weather", "time_of_day")[number % 2], {"city": f"City {number}"}) for number in range(count)]


@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
@pytest.mark.parametrize("count", [0, 1, 2, 8, 32])
def test_any_number_of_calls_comes_whole_and_streamed_alike(serve: Serve, decoding: str, count: int) -> None:
    said = many(count)
    server = serve([said or "No tool can help."])
    request = {"tools": TOOLS, "extra_body": {"polycall": {"decoding": decoding, "max_calls": max(count, 1)}}}
    whole = ask(server, **request)
    with server.client.chat.completions.stream(model=server.engine.model, messages=[USER], **request) as events:
        streamed = events.get_final_completion()
    for answer in (whole, streamed):
        [choice] = answer.choices
        assert [
            (call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []
        ] == said
        assert choice.message.content == (None if said else "No tool can help.")
        assert choice.finish_reason == ("tool_calls" if said else "stop")
    assert streamed.usage is None


@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
def test_the_async_client_gets_the_same(serve: Serve, decoding: str) -> None:
    server = serve([THREE])

    async def both() -> tuple[ChatCompletion, list[ChatCompletionChunk]]:
        async with server.async_client() as client:
            request: Any = {
                "model": server.engine.model,
                "messages": [USER],
                "tools": TOOLS,
                "extra_body": {"polycall": {"decoding": decoding}},
            }
            whole = await client.chat.completions.create(**request)
            return whole, [chunk async for chunk in await client.chat.completions.create(**request, stream=True)]

    whole, chunks = asyncio.run(both())
    assert calls_of(whole) == THREE
    assert [part.function.name for part in deltas(chunks) if part.function.name] == names(THREE)


# C1: parallel_tool_calls.


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_c1_false_means_at_most_one_call_in_required_exactly_one(serve: Serve, choice: str) -> None:
    answer = ask(serve([THREE[:1]]), tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)
    assert calls_of(answer) == THREE[:1]


def test_c1_false_holds_whatever_the_model_would_write(serve: Serve) -> None:
    server = serve(lambda _text, _constraint: None)
    for seed in range(5):
        answer = ask(server, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, seed=seed)
        assert len(calls_of(answer)) == 1


@pytest.mark.parametrize("value", [True, None])
def test_c1_only_an_explicit_false_counts(serve: Serve, value: bool | None) -> None:
    answer = ask(serve([THREE]), tools=TOOLS, extra_body={"parallel_tool_calls": value})
    assert calls_of(answer) == THREE


# C2: tool_choice.


def test_c2_none_makes_no_call_and_shows_no_tools(serve: Serve) -> None:
    answer = ask(serve(["Fine."]), tools=TOOLS, tool_choice="none")
    assert answer.choices[0].message.content == "Fine."


@pytest.mark.parametrize(
    ("choice", "allowed", "at_least"),
    [
        ("required", {"weather", "time_of_day"}, 1),
        ({"type": "function", "function": {"name": "time_of_day"}}, {"time_of_day"}, 1),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "time_of_day"}}],
                },
            },
            {"time_of_day"},
            1,
        ),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
            },
            {"weather"},
            0,
        ),
    ],
)
@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
def test_c2_a_choice_holds_whatever_the_model_would_write(
    serve: Serve, choice: Any, allowed: set[str], at_least: int, decoding: str
) -> None:
    server = serve(lambda _text, _constraint: None)
    for seed in range(5):
        made = calls_of(
            ask(server, tools=TOOLS, tool_choice=choice, seed=seed, extra_body={"polycall": {"decoding": decoding}})
        )
        assert set(names(made)) <= allowed
        assert len(made) >= at_least


def test_c2_a_named_tool_is_called_exactly_once(serve: Serve) -> None:
    server = serve(lambda _text, _constraint: None)
    named = {"type": "function", "function": {"name": "weather"}}
    assert names(calls_of(ask(server, tools=TOOLS, tool_choice=named))) == ["weather"]


@pytest.mark.parametrize("choice", ["auto", "none", "required", {"type": "function", "function": {"name": "weather"}}])
@pytest.mark.parametrize("tools", [None, []])
def test_c2_a_choice_without_tools_is_refused(hello_server: Server, choice: Any, tools: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(hello_server, tool_choice=choice, **({} if tools is None else {"tools": tools}))
    assert caught.value.param == "tool_choice"


# C3: finish reasons.


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("auto", "tool_calls"),
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "weather"}}, "stop"),
    ],
)
def test_c3_a_named_choice_reports_stop_and_others_tool_calls(serve: Serve, choice: Any, reason: str) -> None:
    server = serve([THREE[:1]])
    assert ask(server, tools=TOOLS, tool_choice=choice).choices[0].finish_reason == reason
    finish = [chunk.choices[0].finish_reason for chunk in stream(server, tools=TOOLS, tool_choice=choice)]
    assert finish[-1] == reason
    assert not any(finish[:-1])


def test_c3_an_answer_that_was_cut_says_length(serve: Serve) -> None:
    server = serve(["A long answer that will not fit."])
    assert ask(server, max_tokens=6).choices[0].finish_reason == "length"
    assert ask(server, max_completion_tokens=6).choices[0].message.content == "A long"
    assert stream(server, max_tokens=6)[-1].choices[0].finish_reason == "length"


# C4: strict.


class Weather(BaseModel):
    city: str
    days: int


class Rating(BaseModel):
    stars: int


def test_c4_strict_tools_are_valid_in_every_parallel_call_and_the_stream_helper_parses_them(serve: Serve) -> None:
    said = [
        ("Weather", {"city": "Bern", "days": 1}),
        ("Rating", {"stars": 5}),
        ("Weather", {"city": "Oslo", "days": 2}),
    ]
    server = serve([said])
    with server.client.chat.completions.stream(
        model=server.engine.model,
        messages=[USER],
        tools=[pydantic_function_tool(Weather), pydantic_function_tool(Rating)],
    ) as events:
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        final = events.get_final_completion()
    parsed = [call.function.parsed_arguments for call in final.choices[0].message.tool_calls or []]
    assert parsed == [Weather(city="Bern", days=1), Rating(stars=5), Weather(city="Oslo", days=2)]
    assert [json.loads(event.arguments) for event in done] == [arguments for _, arguments in said]


def test_c4_the_stream_helper_accepts_tools_that_are_not_strict(serve: Serve) -> None:
    server = serve([THREE])
    with server.client.chat.completions.stream(
        model=server.engine.model, messages=[USER], tools=[*TOOLS[:1], function("time_of_day")]
    ) as events:
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [(event.name, json.loads(event.arguments)) for event in done] == THREE


# C5: history.


def history(*messages: Any) -> list[Any]:
    calls = [
        {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
        for call_id in ("call_a", "call_b")
    ]
    return [USER, {"role": "assistant", "content": None, "tool_calls": calls}, *messages]


def test_c5_results_in_any_order_are_accepted(serve: Serve) -> None:
    server = serve(["unused", "Fine."])
    answer = ask(server, messages=history(result("call_b"), result("call_a")), tools=TOOLS)
    assert answer.choices[0].message.content == "Fine."


@pytest.mark.parametrize(
    ("messages", "says", "place"),
    [
        (history(result("call_a")), "did not have response messages: call_b", "messages[3]"),
        (history(result("call_a"), USER), "did not have response messages: call_b", "messages[3]"),
        (history(result("call_a"), result("call_x")), "'call_x'", "messages[3].tool_call_id"),
        (history(result("call_a"), result("call_a")), "already answered", "messages[3].tool_call_id"),
        ([USER, result("call_a")], "'call_a'", "messages[1].tool_call_id"),
    ],
)
def test_c5_missing_unknown_and_repeated_results_are_refused(
    hello_server: Server, messages: list[Any], says: str, place: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        ask(hello_server, messages=messages, tools=TOOLS)
    assert caught.value.param == place


def test_c5_an_answer_can_be_sent_back_as_it_came(serve: Serve) -> None:
    server = serve([THREE, "Fine."])
    first = ask(server, tools=TOOLS).choices[0].message
    results = [result(call.id) for call in first.tool_calls or []]
    again = [USER, first.model_dump(), *results]
    assert ask(server, messages=again, tools=TOOLS).choices[0].message.content == "Fine."
    assert ask(server, messages=[USER, first, *results], tools=TOOLS).choices[0].message.content == "Fine."


# C6: ids and arguments.


def test_c6_ids_are_unique_in_the_whole_conversation_and_arguments_are_json_text(serve: Serve) -> None:
    server = serve([THREE])
    calls = [call for _ in range(3) for call in ask(server, tools=TOOLS).choices[0].message.tool_calls or []]
    assert len({call.id for call in calls}) == len(calls) == 9
    assert all(call.id.startswith("call_") for call in calls)
    assert all(isinstance(call.function.arguments, str) for call in calls)


def test_c6_no_arguments_are_an_empty_object(serve: Serve) -> None:
    answer = ask(serve([[("now", {})]]), tools=[{"type": "function", "function": {"name": "now"}}])
    [call] = answer.choices[0].message.tool_calls or []
    assert call.function.arguments == "{}"


# C7 to C10: the order of the stream.


def test_c7_every_delta_has_an_index_and_indices_are_contiguous_from_0(serve: Serve) -> None:
    parts = deltas(stream(serve([THREE]), tools=TOOLS))
    assert sorted({part.index for part in parts}) == [0, 1, 2]


def test_c7_indices_stay_contiguous_when_a_duplicate_was_dropped(serve: Serve) -> None:
    said = [THREE[0], THREE[0], THREE[1]]
    server = serve([said])
    parts = deltas(stream(server, tools=TOOLS))
    assert [part.index for part in parts] == [0, 0, 1, 1]
    assert calls_of(ask(server, tools=TOOLS)) == [THREE[0], THREE[1]]


def test_c8_id_type_and_name_come_once_in_the_first_delta_of_a_call(serve: Serve) -> None:
    parts = deltas(stream(serve([THREE]), tools=TOOLS))
    for index in range(3):
        own = [part for part in parts if part.index == index]
        assert (own[0].id, own[0].type, own[0].function.name) == (own[0].id, "function", THREE[index][0])
        assert own[0].id
        assert all((part.id, part.type, part.function.name) == (None, None, None) for part in own[1:])


def test_c9_c10_calls_come_whole_one_after_another_in_call_order(serve: Serve) -> None:
    parts = deltas(stream(serve([THREE]), tools=TOOLS))
    assert [part.index for part in parts] == sorted(part.index for part in parts)
    for index, (_, arguments) in enumerate(THREE):
        joined = "".join(part.function.arguments for part in parts if part.index == index)
        assert json.loads(joined) == arguments


def test_c10_calls_are_in_call_order_however_long_their_branches_take(serve: Serve) -> None:
    said = [("weather", {"city": "x" * 30}), ("weather", {"city": "y"}), ("weather", {"city": "z" * 15})]
    parts = deltas(stream(serve([said], step_s=0.002), tools=TOOLS))
    assert [json.loads(part.function.arguments)["city"][0] for part in parts if not part.id] == ["x", "y", "z"]


def test_c11_the_stream_ends_with_finish_then_usage_then_done(serve: Serve) -> None:
    lines = raw_lines(serve([THREE]), tools=TOOLS, stream_options={"include_usage": True})
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-2]["choices"][0]["delta"] == {}
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1


def test_c11_the_first_arguments_are_empty_and_there_is_no_usage_unasked(serve: Serve) -> None:
    lines = raw_lines(serve([THREE]), tools=TOOLS)
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == ""
    assert not any("usage" in chunk for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
