"""The response, whole and streamed, is written from the same events: whatever they are, both forms say the same."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from openai._types import omit
from openai.lib._parsing._responses import parse_response
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from sse_starlette import ServerSentEvent

from grammars.tools import CallError, ErrorKind, ToolCall, ToolResult
from serving.api.openai_responses.answer import ResponsesAnswer
from serving.api.openai_responses.history import read_history
from serving.api.openai_responses.items import ITEMS
from serving.api.openai_responses.wire import ResponsesRequest
from serving.decode.events import Figures, TextWritten
from serving.execute.execute import CallFinished, CallStarted
from serving.turn_events import CallHandedBack, ToolsListed, TurnBegan, TurnEnded, TurnEvent, TurnFigures
from tests.serving.api.turns import turns

EVENTS = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}
"""The client's own types of events, by their names."""
unhurried = settings(deadline=None, max_examples=60)
"""The client's types are made when they are first needed, which takes a while."""

ASKED = ResponsesRequest(model="m", input="Hello?")
BEGAN = TurnBegan(turn_id="turn_1", created_s=1.0)
ENDED = TurnEnded(turn_id="turn_1", reason="text", figures=TurnFigures(rounds=(Figures(decoding="parallel"),)))
ONE, TWO = (ToolCall(id=f"call_{number}", name="look", arguments={"at": number}) for number in (1, 2))


def whole(events: list[TurnEvent], **options: Any) -> Response:
    """The response in one piece, having gone over the wire."""
    return Response.model_validate_json(ResponsesAnswer(ASKED, **options).whole(events))


def read(part: ServerSentEvent) -> Any:
    text = str(part.data)
    return EVENTS[json.loads(text)["type"]].model_validate_json(text)


def sent(events: list[TurnEvent], **options: Any) -> list[Any]:
    """The stream, having gone over the wire, every event under its own name."""
    answer = ResponsesAnswer(ASKED, **options)
    found = []
    for part in [part for event in events for part in answer.streamed(event)] + list(answer.closing()):
        event = read(part)
        assert part.event == event.type
        found.append(event)
    return found


def finished(call: ToolCall, value: Any = "seen", error: ErrorKind | None = None) -> CallFinished:
    said = None if error is None else CallError(kind=error, message="no")
    return CallFinished(call=call, result=ToolResult(call_id=call.id, value=value, error=said), start_s=1.0, end_s=2.0)


def started(call: ToolCall) -> CallStarted:
    return CallStarted(call=call, at_s=1.0)


def kinds(stream: list[Any]) -> list[str]:
    """The types of the events between the response's own."""
    return [event.type.removeprefix("response.") for event in stream[2:-1]]


@unhurried
@given(turns())
def test_the_stream_accumulated_by_the_real_client_equals_the_whole_response(events: list[TurnEvent]) -> None:
    response, stream = whole(events), sent(events)
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in stream:
        state.handle_event(event)
    assert stream[-1].type == f"response.{response.status}"
    assert stream[-1].response == response
    if response.status == "completed":
        assert state._completed_response is not None
        parsed = parse_response(text_format=omit, input_tools=omit, response=response)
        assert state._completed_response.to_dict() == parsed.to_dict()


@unhurried
@given(turns())
def test_every_item_is_opened_filled_and_closed_as_it_stands_in_the_output(events: list[TurnEvent]) -> None:
    response, stream = whole(events), sent(events)
    added = [event for event in stream if event.type == "response.output_item.added"]
    done = [event for event in stream if event.type == "response.output_item.done"]
    assert [event.output_index for event in added] == list(range(len(response.output)))
    assert [event.item.id for event in added] == [item.id for item in response.output]
    assert [event.item for event in sorted(done, key=lambda event: event.output_index)] == response.output
    for event in added:
        own = [
            other.type
            for other in stream
            if getattr(other, "item_id", None) == event.item.id
            or (other is not event and getattr(getattr(other, "item", None), "id", None) == event.item.id)
        ]
        assert own[-1] == "response.output_item.done"
    texts = {event.item_id: event.text for event in stream if event.type == "response.output_text.done"}
    for item_id, text in texts.items():
        deltas = [event.delta for event in stream if event.type.endswith(".delta") and event.item_id == item_id]
        assert "".join(deltas) == text


@unhurried
@given(turns())
def test_events_are_numbered_without_gaps_between_the_responses_own(events: list[TurnEvent]) -> None:
    stream = sent(events)
    assert [event.sequence_number for event in stream] == list(range(len(stream)))
    assert [event.type for event in stream[:2]] == ["response.created", "response.in_progress"]
    assert [event.type for event in stream if hasattr(event, "response")] == [
        "response.created",
        "response.in_progress",
        stream[-1].type,
    ]


@unhurried
@given(turns())
def test_text_and_calls_of_the_client_are_those_of_the_turn(events: list[TurnEvent]) -> None:
    response = whole(events)
    assert response.output_text == "".join(event.text for event in events if isinstance(event, TextWritten))
    calls = [event.call for event in events if isinstance(event, CallHandedBack)]
    items = [item for item in response.output if item.type == "function_call"]
    assert [(item.call_id, item.name, json.loads(item.arguments)) for item in items] == [
        (call.id, call.name, call.arguments) for call in calls
    ]


@unhurried
@given(turns())
def test_what_a_response_says_can_come_back_as_it_is(events: list[TurnEvent]) -> None:
    items = ITEMS.validate_python([item.to_dict(mode="json") for item in whole(events).output])
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "done"}
        for item in items
        if item.type == "function_call"
    ]
    history = read_history([("input", item) for item in (*items, *ITEMS.validate_python(outputs))])
    said = {call.id: call for message in history.messages for call in message.calls}
    for event in events:
        if isinstance(event, CallHandedBack | CallStarted):
            assert said[event.call.id].same_as(event.call)
    results = {message.call_id: message.text for message in history.messages if message.role == "tool"}
    for event in events:
        if isinstance(event, CallFinished) and event.call.id in said:
            assert results[event.call.id] == event.result.text


# Calls that the server runs.


def test_a_call_that_the_server_runs_is_complete_only_after_its_tool() -> None:
    events: list[TurnEvent] = [BEGAN, started(ONE), started(TWO), finished(TWO), finished(ONE), ENDED]
    stream = sent(events)
    opening = [
        "output_item.added", "mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done"
    ]  # fmt: skip
    ending = ["mcp_call.completed", "output_item.done"]
    assert kinds(stream)[:12] == [*opening, *opening, *ending, *ending]
    assert [event.output_index for event in stream if event.type == "response.mcp_call.completed"] == [1, 0]
    first = whole(events).output[0]
    assert first.to_dict() == {
        "id": "mcp_1", "type": "mcp_call", "name": "look", "server_label": "polycall", "arguments": '{"at": 1}',
        "output": "seen", "error": None, "status": "completed", "approval_request_id": None,
    }  # fmt: skip


def test_its_label_is_that_of_its_source() -> None:
    listed = ToolsListed(labels={"look": "house"})
    [item, _] = whole([BEGAN, listed, started(ONE), finished(ONE), ENDED]).output
    assert item.server_label == "house"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("tool_error", {"type": "mcp_tool_execution_error"}),
        ("timeout", {"type": "mcp_tool_execution_error"}),
        ("invalid_arguments", {"type": "mcp_protocol_error", "code": -32602}),
        ("unknown_tool", {"type": "mcp_protocol_error", "code": -32602}),
    ],
)
@pytest.mark.parametrize("has_started", [True, False])
def test_its_error_is_a_typed_object_with_the_words_that_the_model_reads(
    kind: ErrorKind, error: dict[str, Any], has_started: bool
) -> None:
    done = finished(ONE, None, kind)
    events: list[TurnEvent] = [BEGAN, *([started(ONE)] if has_started else []), done, ENDED]
    item = whole(events).output[0]
    assert (item.status, item.output) == ("failed", None)
    said = item.error.to_dict()
    assert said.items() >= error.items()
    assert done.result.text in (said.get("message"), (said.get("content") or [{}])[0].get("text"))
    assert "mcp_call.failed" in kinds(sent(events))


def test_a_call_that_was_denied_shows_in_no_item_but_in_the_report() -> None:
    denied = finished(ONE, None, "denied")
    ended = TurnEnded(turn_id="turn_1", reason="text", figures=ENDED.figures, server_calls=(denied,))
    response = whole([BEGAN, denied, TextWritten(text="Well."), ended])
    assert [item.type for item in response.output] == ["message"]
    assert response.model_extra["polycall"]["server_calls"][0]["error"]["kind"] == "denied"


def test_an_approved_call_names_its_approval() -> None:
    [item, _] = whole([BEGAN, started(ONE), finished(ONE), ENDED], approved=frozenset({"call_1"})).output
    assert item.approval_request_id == "call_1"


# Text.


def test_text_before_and_after_calls_stands_where_it_was_written() -> None:
    events: list[TurnEvent] = [
        BEGAN, TextWritten(text="Let me "), TextWritten(text="look."), started(ONE), finished(ONE),
        TextWritten(text="There."), ENDED,
    ]  # fmt: skip
    response = whole(events)
    assert [item.type for item in response.output] == ["message", "mcp_call", "message"]
    assert [item.content[0].text for item in response.output if item.type == "message"] == ["Let me look.", "There."]


def test_an_empty_answer_is_a_message_with_an_empty_text() -> None:
    [message] = whole([BEGAN, ENDED]).output
    assert (message.content[0].text, message.status) == ("", "completed")


def test_a_text_that_was_cut_is_incomplete_and_so_is_its_response() -> None:
    cut = TurnEnded(turn_id="turn_1", reason="length", figures=ENDED.figures)
    response = whole([BEGAN, TextWritten(text="It w"), cut])
    assert (response.status, response.output[0].status) == ("incomplete", "incomplete")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


# A stream that breaks off.


def test_a_stream_that_an_error_breaks_off_ends_with_a_failed_response_that_has_what_there_is() -> None:
    answer = ResponsesAnswer(ASKED)
    for event in (BEGAN, started(ONE), TextWritten(text="It w")):
        list(answer.streamed(event))
    *closing, failed = (read(part) for part in answer.broken(RuntimeError("secret")))
    assert [event.type for event in closing] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.output_item.done",
    ]  # fmt: skip
    assert failed.type == "response.failed"
    assert (failed.response.status, failed.response.error.code) == ("failed", "server_error")
    assert "secret" not in failed.to_json()
    assert [item.status for item in failed.response.output] == ["incomplete", "incomplete"]
