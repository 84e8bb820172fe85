"""The answer, whole and streamed, is written from the same events: whatever they are, both forms say the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from pydantic import TypeAdapter

from grammars.tools import ToolCall, ToolResult
from serving.api.anthropic_messages.answer import MessagesAnswer
from serving.decode.events import Figures, TextWritten
from serving.execute.execute import CallFinished, CallStarted
from serving.turn_events import CallHandedBack, TurnBegan, TurnEnded, TurnEvent, TurnFigures, TurnReason
from tests.serving.api.turns import turns

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


def whole(events: list[TurnEvent]) -> Message:
    """The answer in one piece, having gone over the wire."""
    return Message.model_validate_json(MessagesAnswer(model="m").whole(events))


def sent(events: list[TurnEvent]) -> list[RawMessageStreamEvent]:
    """The stream, having gone over the wire, every event under its own name."""
    answer = MessagesAnswer(model="m")
    found = []
    for part in [part for event in events for part in answer.streamed(event)] + list(answer.closing()):
        event = EVENT.validate_json(str(part.data))
        assert part.event == event.type
        found.append(event)
    return found


def accumulated(stream: list[RawMessageStreamEvent]) -> Any:
    """What the real client's helper makes of a stream."""
    message, buffers = None, {}
    for event in stream:
        message = accumulate_event(event=event, current_snapshot=message, json_bufs=buffers)
    return message


@given(turns())
def test_the_stream_accumulated_by_the_real_client_equals_the_whole_answer(events: list[TurnEvent]) -> None:
    message, stream = whole(events), sent(events)
    streamed = accumulated(stream)
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in message.content]
    for name in ("id", "model", "role", "type", "stop_reason", "stop_sequence"):
        assert getattr(streamed, name) == getattr(message, name)
    assert streamed.usage.model_dump() == message.usage.model_dump()
    assert stream[-2].model_extra["polycall"] == message.model_extra["polycall"]


@given(turns())
def test_blocks_are_opened_filled_and_closed_one_after_another_with_contiguous_indices(
    events: list[TurnEvent],
) -> None:
    stream = sent(events)
    assert [event.type for event in stream if event.type.startswith("message")] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    assert (stream[0].type, stream[-1].type) == ("message_start", "message_stop")
    inside: int | None = None
    following = 0
    for event in stream[1:-2]:
        match event.type:
            case "content_block_start":
                assert (inside, event.index) == (None, following)
                inside = event.index
            case "content_block_delta":
                assert event.index == inside
            case "content_block_stop":
                assert event.index == inside
                inside, following = None, following + 1
    assert inside is None


@given(turns())
def test_every_handed_back_call_is_one_block_with_whole_arguments_in_call_order(events: list[TurnEvent]) -> None:
    calls = [event.call for event in events if isinstance(event, CallHandedBack)]
    blocks = [block for block in whole(events).content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in blocks] == [(call.name, call.arguments) for call in calls]
    assert [block.id for block in blocks] == [call.id.replace("call_", "toolu_") for call in calls]
    stream = sent(events)
    begun = [
        event for event in stream if event.type == "content_block_start" and event.content_block.type == "tool_use"
    ]
    assert [event.content_block.input for event in begun] == [{}] * len(calls)
    written = [
        event.delta.partial_json
        for event in stream
        if event.type == "content_block_delta"
        if event.delta.type == "input_json_delta"
    ]
    assert [json.loads(text) for text in written] == [call.arguments for call in calls]


@given(turns())
def test_no_text_is_lost_and_none_is_empty(events: list[TurnEvent]) -> None:
    texts = [block.text for block in whole(events).content if block.type == "text"]
    assert "".join(texts) == "".join(event.text for event in events if isinstance(event, TextWritten))
    assert all(texts)


def turn(*events: TurnEvent, reason: TurnReason = "text", stop: str | None = None, **figures: Any) -> list[TurnEvent]:
    rounds = (Figures(decoding="parallel", **figures),)
    ended = TurnEnded(turn_id="turn_1", reason=reason, stop=stop, figures=TurnFigures(rounds=rounds))
    return [TurnBegan(turn_id="turn_1", created_s=0.0), *events, ended]


CALL = ToolCall(id="call_1", name="weather", arguments={"city": "Bern"})
HANDED_BACK = CallHandedBack(position=0, call=CALL)


@pytest.mark.parametrize(
    ("reason", "stop", "says"),
    [
        ("calls", None, ("tool_use", None)),
        ("text", None, ("end_turn", None)),
        ("text", "END", ("stop_sequence", "END")),
        ("length", None, ("max_tokens", None)),
        ("length", "END", ("max_tokens", None)),
        ("approval", None, ("end_turn", None)),
    ],
)
def test_stop_reason_says_why_the_answer_ends(
    reason: TurnReason, stop: str | None, says: tuple[str, str | None]
) -> None:
    events = turn(HANDED_BACK, reason=reason, stop=stop)
    message, streamed = whole(events), accumulated(sent(events))
    assert (message.stop_reason, message.stop_sequence) == says
    assert (streamed.stop_reason, streamed.stop_sequence) == says


def test_text_around_a_call_that_the_server_ran_is_two_texts() -> None:
    done = CallFinished(call=CALL, result=ToolResult(call_id=CALL.id, value=1), start_s=0.0, end_s=1.0)
    ran = [CallStarted(call=CALL, at_s=0.0), done]
    events = turn(TextWritten(text="Let me "), TextWritten(text="see."), *ran, TextWritten(text="It is 1."))
    assert [block.text for block in whole(events).content] == ["Let me see.", "It is 1."]


@pytest.mark.parametrize(
    ("cached", "usage"),
    [
        (None, {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": None}),
        (0, {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 0}),
        (8, {"input_tokens": 2, "output_tokens": 3, "cache_read_input_tokens": 8}),
    ],
)
def test_input_tokens_leave_out_what_was_cached(cached: int | None, usage: dict[str, int | None]) -> None:
    events = turn(prompt_tokens=10, cached_tokens=cached, completion_tokens=3)
    for message in (whole(events), accumulated(sent(events))):
        assert {name: getattr(message.usage, name) for name in usage} == usage


def test_an_answer_without_text_or_calls_has_no_blocks() -> None:
    assert whole(turn()).content == accumulated(sent(turn())).content == []


def test_the_stream_of_an_answer_that_breaks_off_ends_with_the_error_alone() -> None:
    [part] = MessagesAnswer(model="m").broken(ZeroDivisionError("secret"))
    error = json.loads(str(part.data))
    assert (part.event, error["type"], error["error"]["type"]) == ("error", "error", "api_error")
    assert "secret" not in str(part.data)
