"""Anthropic's own client against a running server: messages, the stream helper, and the runner of tools.

A1 to A8 are the rules that the wire must keep for the client to work: choices, blocks and ids, results, failures, the
order of the stream, answers that were cut, tools that run while the answer still streams, the same turn as OpenAI's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic, beta_tool
from anthropic.types import Message, ParsedMessage
from pydantic import BaseModel

from grammars.constraint import Constraint
from serving.api.app import ApiOptions
from serving.callers import ApiKey, Caller
from serving.engines.scripted import Answer, Failure
from serving.execute.registry import Registry
from tests.serving.api.api_server import Call, Rounds, Said, Serve, Server
from tests.serving.api.held_engine import HeldEngine

ASKED: Any = {"role": "user", "content": "What is the weather in Bern and Oslo?"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"name": "weather", "description": "The weather in a city.", "input_schema": SCHEMA},
    {"name": "time_of_day", "input_schema": SCHEMA},
]
THREE: list[Call] = [
    ("weather", {"city": "Bern"}),
    ("time_of_day", {"city": "Bern"}),
    ("weather", {"city": 'O"slo — 世'}),
]


@dataclass
class Wire:
    """A running server and Anthropic's client of it."""

    server: Server
    client: Anthropic

    def ask(self, **request: Any) -> Message:
        asked = {"model": self.server.engine.model, "max_tokens": 4096, "messages": [ASKED], **request}
        message = self.client.messages.create(**asked)
        assert isinstance(message, Message)
        return message

    def stream(self, **request: Any) -> tuple[list[Any], ParsedMessage[Any]]:
        """The events as they came, and the message that the stream helper puts together."""
        asked = {"model": self.server.engine.model, "max_tokens": 4096, "messages": [ASKED], **request}
        with self.client.messages.stream(**asked) as stream:
            return list(stream), stream.get_final_message()

    def runner(self, *tools: Any, **more: Any) -> Any:
        return self.client.beta.messages.tool_runner(
            model=self.server.engine.model, max_tokens=4096, messages=[ASKED], tools=list(tools), **more
        )

    def listen(self) -> list[str]:
        """All that the model reads from now on, a text for each stream."""
        heard: list[str] = []
        script = self.server.engine._script

        def listening(text: str, constraint: Constraint) -> Answer:
            heard.append(text)
            return script(text, constraint)

        self.server.engine._script = listening
        return heard


Wired = Callable[..., Wire]


@pytest.fixture(scope="module")
def connections() -> Iterator[anthropic.DefaultHttpxClient]:
    """The connections of all clients, which take longer to make than a client and its server."""
    with anthropic.DefaultHttpxClient(timeout=20) as shared:
        yield shared


@pytest.fixture
def wired(serve: Serve, connections: anthropic.DefaultHttpxClient) -> Wired:
    """Starts a server and its client: `wired(["text"])`, or rounds of calls."""

    def start(rounds: Sequence[Said] | Callable[[str, Constraint], Answer] = ("Hello.",), **options: Any) -> Wire:
        server = serve(rounds, **options)
        client = Anthropic(
            base_url=server.url, api_key=server.api_key, max_retries=0, timeout=20, http_client=connections
        )
        return Wire(server, client)

    return start


def calls_of(message: Any) -> list[Call]:
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def result(block: Any, content: Any = "12 degrees", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": block.id, "content": content, **more}


def walk(_text: str, _constraint: Constraint) -> Answer:
    """A model that writes anything that it may."""
    return None


# A1: the choice


A1 = {
    "auto, one at most": ({"type": "auto", "disable_parallel_tool_use": True}, (0, 1), None),
    "any": ({"type": "any"}, (1, 16), None),
    "any, exactly one": ({"type": "any", "disable_parallel_tool_use": True}, (1, 1), None),
    "that tool": ({"type": "tool", "name": "weather"}, (1, 16), "weather"),
    "that tool, exactly once": (
        {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        (1, 1),
        "weather",
    ),
    "none": ({"type": "none"}, (0, 0), None),
}


@pytest.mark.parametrize(("tool_choice", "bounds", "name"), A1.values(), ids=A1)
def test_a1_tool_choice_bounds_the_calls_whatever_the_model_would_write(
    wired: Wired, tool_choice: Any, bounds: tuple[int, int], name: str | None
) -> None:
    wire = wired(walk)
    for words in ("One?", "Two?", "Three?"):
        message = wire.ask(messages=[{"role": "user", "content": words}], tools=TOOLS, tool_choice=tool_choice)
        calls = calls_of(message)
        assert bounds[0] <= len(calls) <= bounds[1]
        assert {called for called, _ in calls} <= ({name} if name else {"weather", "time_of_day"})
        assert (message.stop_reason == "tool_use") == bool(calls)


@pytest.mark.parametrize("tool_choice", [{"type": "any"}, {"type": "tool", "name": "nothing"}])
def test_a1_a_choice_that_cannot_be_honoured_is_refused(wired: Wired, tool_choice: Any) -> None:
    tools = TOOLS if "name" in tool_choice else []
    with pytest.raises(anthropic.BadRequestError, match="tool_choice") as refused:
        wired().ask(tools=tools, tool_choice=tool_choice)
    assert refused.value.type == "invalid_request_error"


# A2: blocks and ids


def some(count: int) -> list[Call]:
    return [(("weather", "time_of_day")[number % 2], {"city": f"City {number}"}) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 8, 32])
def test_a2_every_call_is_a_block_with_an_id_of_its_own_whole_and_streamed(wired: Wired, count: int) -> None:
    wire = wired([some(count) or "No tool is needed."])
    extension = {"polycall": {"max_calls": 32}}
    whole = wire.ask(tools=TOOLS, extra_body=extension)
    _, streamed = wire.stream(tools=TOOLS, extra_body=extension)
    for message in (whole, streamed):
        assert calls_of(message) == some(count)
        assert text_of(message) == ("" if count else "No tool is needed.")
        assert message.stop_reason == ("tool_use" if count else "end_turn")
        ids = [block.id for block in message.content if block.type == "tool_use"]
        assert len(set(ids)) == count
        assert all(use_id.startswith("toolu_") for use_id in ids)


@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
def test_a2_both_ways_of_decoding_give_the_same_calls(wired: Wired, decoding: str) -> None:
    message = wired([THREE]).ask(tools=TOOLS, extra_body={"polycall": {"decoding": decoding}})
    assert calls_of(message) == THREE
    assert message.model_extra["polycall"]["decoding"] == decoding


# A3 and A4: results and failures


def test_a3_an_answer_and_the_results_of_its_calls_go_back_as_they_came(wired: Wired) -> None:
    wire = wired([THREE, "Mild."])
    whole = wire.ask(tools=TOOLS)
    _, streamed = wire.stream(tools=TOOLS)
    heard = wire.listen()
    for first in (whole, streamed):
        results = [result(block) for block in reversed(first.content)]
        for content in (first.content, [block.model_dump() for block in first.content]):
            again = [ASKED, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
            assert text_of(wire.ask(messages=again, tools=TOOLS)) == "Mild."
        assert heard[-1].count("12 degrees") == 3
        assert first.content[0].id.removeprefix("toolu_") not in heard[-1]


@pytest.mark.parametrize(
    ("answered", "says", "place"),
    [
        ([], "`tool_use` ids were found without `tool_result` blocks immediately after: ", "messages[1]"),
        ([0, 1], "`tool_use` ids were found without `tool_result` blocks immediately after: ", "messages[1]"),
        ([0, 1, 2, 2], "each tool_use must have a single result", "messages[2].content[2].tool_use_id"),
        ([0, 1, 2, None], "unexpected `tool_use_id` found in `tool_result` blocks: ", "messages[2].content[3]"),
    ],
)
def test_a3_missing_doubled_and_stray_results_are_refused_in_anthropics_words(
    wired: Wired, answered: list[int | None], says: str, place: str
) -> None:
    wire = wired([THREE])
    first = wire.ask(tools=TOOLS)
    stray = {"type": "tool_result", "tool_use_id": "toolu_stray", "content": ""}
    results = [stray if index is None else result(first.content[index]) for index in answered]
    again = [ASKED, {"role": "assistant", "content": first.content}, {"role": "user", "content": results or "Well?"}]
    with pytest.raises(anthropic.BadRequestError) as refused:
        wire.ask(messages=again, tools=TOOLS)
    assert str(refused.value.api_message).startswith(place)
    assert says in str(refused.value.api_message)


def test_a4_the_model_reads_that_a_call_failed(wired: Wired) -> None:
    wire = wired([THREE, "No such city."])
    first = wire.ask(tools=TOOLS)
    heard = wire.listen()
    results = [result(first.content[0], "no such city", is_error=True), *map(result, first.content[1:])]
    wire.ask(
        messages=[ASKED, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}],
        tools=TOOLS,
    )
    assert '{"error": "tool_error", "message": "no such city"}' in heard[-1]
    assert heard[-1].count("12 degrees") == 2


# A5: the order of the stream


def test_a5_blocks_come_one_after_another_with_contiguous_indices(wired: Wired) -> None:
    events, _ = wired([THREE]).stream(tools=TOOLS)
    raw = [event for event in events if event.type.startswith(("message_", "content_block_"))]
    assert [(event.type, getattr(event, "index", None)) for event in raw] == [
        ("message_start", None),
        *[(f"content_block_{what}", index) for index in range(3) for what in ("start", "delta", "stop")],
        ("message_delta", None),
        ("message_stop", None),
    ]
    begun = [event.content_block for event in raw if event.type == "content_block_start"]
    assert [(block.name, block.input) for block in begun] == [(name, {}) for name, _ in THREE]


def test_a5_calls_stay_in_call_order_however_long_their_branches_take(wired: Wired) -> None:
    said: list[Call] = [("weather", {"city": "x" * 40}), ("weather", {"city": "y"}), ("weather", {"city": "z" * 20})]
    _, message = wired([said], step_s=0.001).stream(tools=TOOLS)
    assert calls_of(message) == said


def test_a5_no_arguments_are_an_empty_object(wired: Wired) -> None:
    now = {"name": "now", "input_schema": {"type": "object", "properties": {}, "additionalProperties": False}}
    wire = wired([[("now", {})]])
    assert calls_of(wire.ask(tools=[now])) == calls_of(wire.stream(tools=[now])[1]) == [("now", {})]


def test_a5_text_streams_in_pieces_in_one_block(wired: Wired) -> None:
    wire = wired(["No tool is needed."])
    events, message = wire.stream(tools=TOOLS)
    assert len([event for event in events if event.type == "text"]) > 5
    assert [block.text for block in message.content] == ["No tool is needed."]
    with wire.client.messages.stream(model="scripted", max_tokens=100, messages=[ASKED]) as stream:
        assert "".join(stream.text_stream) == stream.get_final_text() == "No tool is needed."


def test_an_error_after_the_first_event_is_an_event_that_the_client_raises(wired: Wired) -> None:
    capitals = Rounds([[("capital", {"country": "Norway"})]])

    def breaks(text: str, constraint: Constraint) -> Answer:
        return Failure(error="broken") if text.count("<|im_start|>assistant\n") > 1 else capitals(text, constraint)

    with pytest.raises(anthropic.APIStatusError) as broken:
        wired(breaks, registry=registry()).stream()
    assert broken.value.type == "api_error"


# A6: an answer that is cut


@pytest.mark.parametrize("max_tokens", [1, 12, 30, 45, 60, 4096])
def test_a6_an_answer_that_is_cut_never_ends_with_tool_use_and_holds_only_whole_calls(
    wired: Wired, max_tokens: int
) -> None:
    wire = wired([THREE])
    for message in (wire.ask(tools=TOOLS, max_tokens=max_tokens), wire.stream(tools=TOOLS, max_tokens=max_tokens)[1]):
        calls = calls_of(message)
        assert all(call in THREE for call in calls)
        assert message.stop_reason == ("tool_use" if calls == THREE else "max_tokens")


def test_a6_text_that_is_cut_ends_with_max_tokens(wired: Wired) -> None:
    message = wired(["Hello, all of you."]).ask(max_tokens=5)
    assert (text_of(message), message.stop_reason, message.usage.output_tokens) == ("Hello", "max_tokens", 5)


# A7: tools that run while the answer still streams


def test_a7_a_call_is_sent_while_the_next_one_is_still_written(wired: Wired) -> None:
    wire = wired([THREE[:2]], engine_type=HeldEngine, holds=writes_second_call)
    engine = wire.server.engine
    assert isinstance(engine, HeldEngine)
    asked = {"model": "scripted", "max_tokens": 4096, "messages": [ASKED], "tools": TOOLS, "stream": True}
    with httpx.stream("POST", f"{wire.server.url}/v1/messages", json=asked) as response:
        lines = (line for line in response.iter_lines() if line.startswith("data:"))
        assert any("Bern" in line for line in lines)  # else the second call, which waits, would have broken the answer
        assert any("content_block_stop" in line for line in lines)
        engine.let_go()
        assert any('"stop_reason":"tool_use"' in line for line in lines)


def writes_second_call(text: str) -> bool:
    """Whether the stream on this text is the one that writes the arguments of the second call."""
    return text.endswith('"arguments": ') and re.findall(r"\bcall (\d+)", text)[-1:] == ["1"]


class Log:
    """Tools of the client that write down what happens, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tool(self) -> Any:
        @beta_tool
        def weather(city: str) -> str:
            """The weather in a city.

            Args:
                city: Where.
            """
            self.lines.append(f"run {city}")
            if city == "Atlantis":
                raise LookupError("no such city")
            return f"mild in {city}"

        return weather


CITIES: list[Call] = [("weather", {"city": city}) for city in ("Bern", "Atlantis", "Oslo")]


def test_a7_the_eager_runner_runs_calls_while_the_answer_streams_and_all_results_go_back_at_once(wired: Wired) -> None:
    wire, log = wired([CITIES, "Mild, but for Atlantis."]), Log()
    heard = wire.listen()
    runner = wire.runner(log.tool(), stream=True, run_tools_eagerly=True)
    for stream in runner:
        for event in stream:
            if event.type == "content_block_start" and event.content_block.type == "tool_use":
                log.lines.append("block")
        last = stream.get_final_message()
    assert log.lines == ["block", "block", "run Bern", "block", "run Atlantis", "run Oslo"]
    assert text_of(last) == "Mild, but for Atlantis."
    assert heard[-1].count("mild in") == 2
    assert heard[-1].count('{"error": "tool_error", "message": "') == heard[-1].count("no such city") == 1


def test_a7_the_plain_runner_goes_on_until_text(wired: Wired) -> None:
    wire, log = wired([CITIES, CITIES[:1], "Mild."]), Log()
    assert text_of(wire.runner(log.tool()).until_done()) == "Mild."
    assert log.lines == ["run Bern", "run Atlantis", "run Oslo", "run Bern"]


# Threads: conversations that the server holds


def test_a_thread_brings_only_what_is_new_and_the_model_reads_all_of_it(wired: Wired) -> None:
    wire = wired([CITIES, "Mild.", CITIES[:1], "Still mild."])
    thread = wire.client.beta.messages.thread(
        model="scripted", max_tokens=4096, system="Be kind.", tools=TOOLS, messages=[ASKED]
    )
    heard = wire.listen()
    first = thread.send()
    assert calls_of(first) == CITIES
    with thread.stream({"role": "user", "content": [result(block) for block in first.content]}) as stream:
        second = stream.get_final_message()
    third = thread.send(ASKED)
    last = thread.send({"role": "user", "content": [result(third.content[0])]})
    assert [text_of(second), calls_of(third), text_of(last)] == ["Mild.", CITIES[:1], "Still mild."]
    assert thread.previous_message_id == last.id
    in_thread = heard[-1]
    whole = list(thread.messages[:-1])
    wire.ask(system="Be kind.", tools=TOOLS, messages=whole)
    assert heard[-1] == in_thread


def test_the_runner_needs_no_second_attempt_for_its_thread(wired: Wired, caplog: pytest.LogCaptureFixture) -> None:
    wire, log = wired([CITIES[:1], "Mild."]), Log()
    with caplog.at_level("INFO", logger="anthropic"):
        assert text_of(wire.runner(log.tool()).until_done()) == "Mild."
    assert "thread" not in caplog.text


def test_a_message_may_be_continued_more_than_once(wired: Wired) -> None:
    wire = wired(["Hello.", "And you?"])
    create = wire.client.beta.messages.create
    asked: Any = {"model": "scripted", "max_tokens": 99, "messages": [ASKED]}
    first = create(**asked, thread={"type": "create"})
    again: Any = {"type": "continue", "previous_message_id": first.id}
    assert text_of(create(**asked, thread=again)) == text_of(create(**asked, thread=again)) == "And you?"


def test_a_thread_that_is_not_there_is_said_in_the_words_that_the_client_acts_on(wired: Wired) -> None:
    keys = (
        ApiKey(key="secret of one", caller=Caller(name="one")),
        ApiKey(key="secret of two", caller=Caller(name="two")),
    )
    wire = wired(options=ApiOptions(keys=keys))
    asked: Any = {"model": "scripted", "max_tokens": 99, "messages": [ASKED]}
    kept = wire.client.beta.messages.create(**asked, thread={"type": "create"}).id
    apart = wire.client.beta.messages.create(**asked).id
    other = wire.client.copy(api_key="secret of two")
    for client, previous in ((other, kept), (wire.client, apart), (wire.client, "msg_00"), (wire.client, "no id")):
        with pytest.raises(anthropic.NotFoundError) as missing:
            client.beta.messages.create(**asked, thread={"type": "continue", "previous_message_id": previous})
        assert missing.value.error_code == "thread_not_found"
        assert str(missing.value.api_message).startswith("thread.previous_message_id: ")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"system": "Be kind."}, "system: "),
        ({"tools": TOOLS}, "tools: "),
        ({"messages": [ASKED]}, "thread: `tool_use` ids were found without `tool_result` blocks immediately after: "),
        ({"messages": []}, "thread: `tool_use` ids were found without `tool_result` blocks immediately after: "),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_stray"}]}]},
            "messages[0].content[0].tool_use_id: unexpected",
        ),
    ],
)
def test_what_does_not_continue_a_thread_is_refused_by_its_place(
    wired: Wired, fields: dict[str, Any], says: str
) -> None:
    wire = wired([THREE])
    asked: Any = {"model": "scripted", "max_tokens": 4096, "messages": [ASKED]}
    first = wire.client.beta.messages.create(**asked, tools=TOOLS, thread={"type": "create"})
    with pytest.raises(anthropic.BadRequestError) as refused:
        wire.client.beta.messages.create(
            **{**asked, **fields}, thread={"type": "continue", "previous_message_id": first.id}
        )
    assert str(refused.value.api_message).startswith(says)


# A8: the same turn as OpenAI's


@pytest.mark.parametrize(
    ("tool_choice", "openai_choice"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"parallel_tool_calls": False}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "none"}, {"tool_choice": "none"}),
    ],
)
def test_a8_the_model_reads_and_writes_the_same_as_on_openais_wire(
    wired: Wired, tool_choice: Any, openai_choice: dict[str, Any]
) -> None:
    wire = wired(walk)
    functions = [{"name": tool["name"], "description": tool.get("description"), "parameters": SCHEMA} for tool in TOOLS]
    heard = wire.listen()
    message = wire.ask(tools=TOOLS, tool_choice=tool_choice, system="Be kind.")
    read = sorted(heard)
    heard.clear()
    answer = wire.server.client.chat.completions.create(
        model="scripted",
        max_tokens=4096,
        messages=[{"role": "system", "content": "Be kind."}, ASKED],
        tools=[{"type": "function", "function": function} for function in functions],  # type: ignore[arg-type]
        **openai_choice,
    )
    assert sorted(heard) == read
    choice = answer.choices[0].message
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.tool_calls or []]
    assert calls_of(message) == calls
    assert text_of(message) == (choice.content or "")


# What else the API has


def test_a_stop_sequence_ends_the_text_and_is_named(wired: Wired) -> None:
    wire = wired(["One. Two. END Three."])
    for message in (wire.ask(stop_sequences=["never", "END"]), wire.stream(stop_sequences=["never", "END"])[1]):
        assert text_of(message) == "One. Two. "
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    message = wire.ask(stop_sequences=["never"])
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)


def test_counted_tokens_are_those_that_the_answer_then_reads(wired: Wired) -> None:
    wire = wired([THREE, "Mild."])
    first = wire.ask(tools=TOOLS)
    again = [
        ASKED,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result(block) for block in first.content]},
    ]
    for messages in ([ASKED], again):
        counted = wire.client.messages.count_tokens(model="scripted", messages=messages, tools=TOOLS, system="Be kind.")
        usage = wire.ask(messages=messages, tools=TOOLS, system="Be kind.").usage
        assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert wire.server.runner.live_turns == 0


@pytest.mark.parametrize("fields", [{"max_tokens": 9}, {"model": "unknown"}, {"tools": [{"name": "x y"}]}])
def test_counting_refuses_what_answering_would(wired: Wired, fields: dict[str, Any]) -> None:
    body = {"model": "scripted", "messages": [ASKED], **fields}
    response = httpx.post(f"{wired().server.url}/v1/messages/count_tokens", json=body)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["message"].startswith(next(iter(fields)))


def test_every_response_names_its_request(wired: Wired) -> None:
    wire = wired()
    ids = [wire.ask()._request_id, wire.client.messages.count_tokens(model="scripted", messages=[ASKED])._request_id]
    with wire.client.messages.stream(model="scripted", max_tokens=9, messages=[ASKED]) as stream:
        ids.append(stream.request_id)
    with pytest.raises(anthropic.BadRequestError) as refused:
        wire.ask(messages=[])
    ids.append(refused.value.request_id)
    assert refused.value.body["request_id"] == refused.value.request_id  # type: ignore[index, call-overload]
    assert len(set(ids)) == 4
    assert all(str(request_id).startswith("req_") for request_id in ids)


def test_errors_are_those_that_the_client_knows(wired: Wired) -> None:
    wire = wired(options=ApiOptions(keys=(ApiKey(key="secret"),), body_limit_bytes=2000))
    with pytest.raises(anthropic.NotFoundError) as unknown:
        wire.ask(model="claude")
    assert (unknown.value.type, unknown.value.error_code) == ("not_found_error", "not_found")
    with pytest.raises(anthropic.ContentTooLargeError):
        wire.ask(system="x" * 2000)
    stranger = wire.client.copy(api_key="wrong")
    with pytest.raises(anthropic.AuthenticationError) as turned_away:
        stranger.messages.create(model="scripted", max_tokens=9, messages=[ASKED])
    assert turned_away.value.type == "authentication_error"
    with pytest.raises(anthropic.BadRequestError, match=r"tools\[0\]\.name"):
        wire.ask(tools=[{"name": "x y", "input_schema": SCHEMA}])
    with pytest.raises(anthropic.BadRequestError, match=r"tools\[1\]\.input_schema: schema refused at '/properties/a'"):
        wire.ask(tools=[TOOLS[0], {"name": "x", "input_schema": {"type": "object", "properties": {"a": {"type": 1}}}}])


def test_the_served_model_is_listed_as_the_client_expects(wired: Wired) -> None:
    client = wired(context_length=4096).client
    [model] = client.models.list()
    assert (model.id, model.type, model.display_name, model.lifecycle) == ("scripted", "model", "scripted", "active")
    assert model.max_input_tokens == 4096
    assert model.created_at.tzinfo is not None
    assert client.models.retrieve("scripted") == model
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude")


# What the server does


def registry() -> Registry:
    tools = Registry()

    @tools.tool()
    def capital(country: str) -> str:
        """The capital of a country."""
        return {"Switzerland": "Bern", "Norway": "Oslo"}[country]

    return tools


NORWAY: Call = ("capital", {"country": "Norway"})


def test_tools_of_the_server_run_there_and_stand_in_the_report(wired: Wired) -> None:
    wire = wired([[NORWAY], "Oslo."], registry=registry())
    whole = wire.ask()
    events, streamed = wire.stream()
    [last] = [event for event in events if event.type == "message_delta"]
    for message, report in ((whole, whole.model_extra["polycall"]), (streamed, last.model_extra["polycall"])):
        assert (text_of(message), calls_of(message), message.stop_reason) == ("Oslo.", [], "end_turn")
        [ran] = report["server_calls"]
        assert (ran["name"], ran["result"], report["rounds"]) == ("capital", "Oslo", 2)


def test_what_the_server_ran_beside_calls_of_the_client_is_read_when_these_are_answered(wired: Wired) -> None:
    wire = wired([[NORWAY, ("weather", {"city": "Oslo"})], "It is cold in Oslo."], registry=registry())
    first = wire.ask(tools=TOOLS)
    assert (calls_of(first), first.stop_reason) == ([("weather", {"city": "Oslo"})], "tool_use")
    heard = wire.listen()
    again = [
        ASKED,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result(first.content[0], "-3 degrees")]},
    ]
    counted = wire.client.messages.count_tokens(model="scripted", messages=again, tools=TOOLS)
    answer = wire.ask(messages=again, tools=TOOLS)
    assert text_of(answer) == "It is cold in Oslo."
    assert heard[0].index('"country": "Norway"') < heard[0].index('"city": "Oslo"') < heard[0].index("-3 degrees")
    assert counted.input_tokens == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)


def test_a_call_that_waits_for_approval_is_decided_by_the_next_request(wired: Wired) -> None:
    wire = wired([[NORWAY], "Oslo."], registry=registry())
    first = wire.ask(extra_body={"polycall": {"require_approval": "always"}})
    assert (calls_of(first), first.stop_reason) == ([], "end_turn")
    [waiting] = first.model_extra["polycall"]["approval_requests"]
    decided = {"approvals": [{"approval_request_id": waiting["id"], "approve": True}]}
    assert text_of(wire.ask(extra_body={"polycall": decided})) == "Oslo."


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_is_given_again_to_its_idempotency_key(wired: Wired, streamed: bool) -> None:
    wire = wired([THREE])

    def asked() -> Any:
        header = {"Idempotency-Key": "the same"}
        return (
            wire.stream(tools=TOOLS, extra_headers=header)[1]
            if streamed
            else wire.ask(tools=TOOLS, extra_headers=header)
        )

    assert asked().to_dict() == asked().to_dict()


class Weather(BaseModel):
    city: str
    degrees: int


def test_an_answer_in_a_schema_is_one_whatever_the_model_would_write(wired: Wired) -> None:
    wire = wired(walk)
    for output in ({}, {"tools": TOOLS, "tool_choice": {"type": "none"}}):
        parsed = wire.client.messages.parse(
            model="scripted", max_tokens=4096, messages=[ASKED], output_format=Weather, **output
        )
        assert isinstance(parsed.parsed_output, Weather)


def test_a_schema_of_the_answer_masks_no_calls(wired: Wired) -> None:
    schema = {"type": "json_schema", "schema": Weather.model_json_schema()}
    message = wired([THREE]).ask(tools=TOOLS, output_config={"format": schema})
    assert (calls_of(message), message.stop_reason) == (THREE, "tool_use")


def test_a_schema_of_the_answer_that_cannot_be_honoured_is_refused_by_its_place(wired: Wired) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        wired().ask(output_config={"format": {"type": "json_schema", "schema": {"properties": {"a": {"type": 1}}}}})
    assert str(refused.value.api_message).startswith(
        "output_config.format.schema: schema refused at '/properties/a', keyword 'type'"
    )
