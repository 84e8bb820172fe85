"""The answer, whole and streamed, is written from the same events: whatever they are, both forms say the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion_chunk import ChoiceDelta

from serving.api.openai_chat.answer import ChatAnswer
from serving.decode.events import CallWritten
from serving.turn_events import CallHandedBack, TurnEvent
from tests.serving.api.turns import turns


def both(events: list[TurnEvent], **options: Any) -> tuple[ChatCompletion, list[ChatCompletionChunk]]:
    """The two forms, having gone over the wire."""
    answer = ChatAnswer(model="m", **{"named": False, "include_usage": True, **options})
    chunks = [
        ChatCompletionChunk.model_validate_json(chunk.model_dump_json(exclude_unset=True))
        for event in events
        for chunk in answer.chunks(event)
    ]
    return ChatCompletion.model_validate_json(answer.completion(events).model_dump_json(exclude_unset=True)), chunks


def facts(calls: Any) -> list[tuple[str, str, str, str]]:
    return [(call.id, call.type, call.function.name, call.function.arguments) for call in calls or []]


def server_fields(messages: Iterable[ChatCompletionMessage | ChoiceDelta]) -> dict[str, Any]:
    """What messages or deltas say of servers of tools, put together."""
    said = [(message.model_extra or {}).get("provider_specific_fields", {}) for message in messages]
    together = {name: value for fields in said for name, value in fields.items()}
    assert len(together) == sum(map(len, said)), "none of it may come twice"
    return together


@given(turns(), st.booleans())
def test_the_stream_concatenated_by_the_real_client_equals_the_whole_answer(
    events: list[TurnEvent], named: bool
) -> None:
    whole, chunks = both(events, named=named)
    state = ChatCompletionStreamState()
    for chunk in chunks:
        list(state.handle_chunk(chunk))
    streamed = state.current_completion_snapshot
    message, other = whole.choices[0].message, streamed.choices[0].message
    assert message.content == other.content
    assert facts(message.tool_calls) == facts(other.tool_calls)
    assert whole.choices[0].finish_reason == streamed.choices[0].finish_reason
    assert whole.choices[0].logprobs == streamed.choices[0].logprobs
    assert whole.usage == chunks[-1].usage
    assert server_fields([whole.choices[0].message]) == server_fields([chunk.choices[0].delta for chunk in chunks[:-1]])
    assert whole.model_extra["polycall"] == chunks[-2].model_extra["polycall"]
    assert (whole.id, whole.created, whole.model) == (chunks[0].id, chunks[0].created, chunks[0].model)


@given(turns())
def test_every_handed_back_call_is_streamed_once_whole_and_in_order(events: list[TurnEvent]) -> None:
    _, chunks = both(events)
    parts = [part for chunk in chunks for choice in chunk.choices for part in choice.delta.tool_calls or []]
    calls = [event.call for event in events if isinstance(event, CallHandedBack)]
    assert [part.index for part in parts] == [index for index in range(len(calls)) for _ in (1, 2)]
    assert [part.id for part in parts if part.id] == [call.id for call in calls]
    assert [json.loads(part.function.arguments) for part in parts if part.id is None and part.function] == [
        call.arguments for call in calls
    ]


@given(turns())
def test_the_calls_of_the_client_are_handed_back_in_planned_order_and_none_is_lost(events: list[TurnEvent]) -> None:
    written = [event for event in events if isinstance(event, CallWritten) and event.call.name in ("weather", "search")]
    in_order = [event.call for event in sorted(written, key=lambda event: event.index)]
    backs = [event for event in events if isinstance(event, CallHandedBack)]
    assert [event.call for event in backs] == in_order
    assert [event.position for event in backs] == list(range(len(backs)))


@given(turns(), st.booleans())
def test_one_finish_comes_last_before_usage(events: list[TurnEvent], include_usage: bool) -> None:
    _, chunks = both(events, include_usage=include_usage)
    finish = [index for index, chunk in enumerate(chunks) if chunk.choices and chunk.choices[0].finish_reason]
    assert finish == [len(chunks) - (2 if include_usage else 1)]
    roles = [chunk.choices[0].delta.role for chunk in chunks if chunk.choices]
    assert roles == ["assistant"] + [None] * (len(roles) - 1)
