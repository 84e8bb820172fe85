"""Turn events as one of OpenAI's Responses, whole or as its events. Both forms are written from the same output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseCreatedEvent,
    ResponseError,
    ResponseFailedEvent,
    ResponseIncompleteEvent,
    ResponseInProgressEvent,
    ResponseStreamEvent,
)
from sse_starlette import ServerSentEvent

from grammars.tools import ToolCall
from serving.api.errors import fault_of
from serving.api.openai_responses import frame
from serving.api.openai_responses.output import Output
from serving.api.openai_responses.wire import ResponsesRequest
from serving.decode.events import TextWritten
from serving.execute.execute import CallFinished, CallStarted
from serving.turn_events import CallHandedBack, ToolsListed, TurnBegan, TurnEnded, TurnEvent


class ResponsesAnswer:
    """Writes one response, of a turn from `TurnBegan` on. `approved` are the calls that the request lets go ahead."""

    def __init__(self, asked: ResponsesRequest, approved: frozenset[str] = frozenset()) -> None:
        self._asked = asked
        self._approved = approved
        self._listed = ToolsListed(labels={})

    def whole(self, events: Sequence[TurnEvent]) -> str:
        return dumped(self.response(events))

    def streamed(self, event: TurnEvent) -> Iterator[ServerSentEvent]:
        for told in self.told(event):
            yield ServerSentEvent(dumped(told), event=told.type)

    def closing(self) -> Iterator[ServerSentEvent]:
        yield from ()

    def broken(self, error: Exception) -> Iterator[ServerSentEvent]:
        """The response failed; what there is of its output stands in it."""
        for told in self._output.break_off():
            yield ServerSentEvent(dumped(told), event=told.type)
        fault = fault_of(error)
        self._response.status = "failed"
        self._response.error = ResponseError(
            code="server_error" if fault.is_ours else "invalid_prompt", message=fault.message
        )
        failed = ResponseFailedEvent.construct(
            type="response.failed", response=self._response, sequence_number=self._output.next_number()
        )
        yield ServerSentEvent(dumped(failed), event=failed.type)

    def response(self, events: Sequence[TurnEvent]) -> Response:
        """The response in one piece, of all events of a turn."""
        for event in events:
            for _ in self.told(event):
                pass
        return self._response

    def told(self, event: TurnEvent) -> Iterator[ResponseStreamEvent]:
        """What the turn's next event adds to the stream. What an event holds goes on changing: write it at once."""
        match event:
            case TurnBegan():
                yield from self._begin(event)
            case ToolsListed(servers=servers):
                self._listed = event
                for server in servers:
                    yield from self._output.listed(server)
            case TextWritten():
                yield from self._output.write(event)
            case CallStarted(call=call):
                yield from self._output.start(call, self._label(call))
            case CallFinished(call=call, result=result):
                yield from self._output.finish(call, result, self._label(call))
            case CallHandedBack(call=call):
                yield from self._output.hand_back(call)
            case TurnEnded():
                yield from self._end(event)

    def _begin(self, began: TurnBegan) -> Iterator[ResponseStreamEvent]:
        self._output = Output(began.turn_id, self._approved)
        self._response = frame.begun(self._asked, began)
        yield ResponseCreatedEvent.construct(
            type="response.created", response=self._response, sequence_number=self._output.next_number()
        )
        yield ResponseInProgressEvent.construct(
            type="response.in_progress", response=self._response, sequence_number=self._output.next_number()
        )
        self._response.output = self._output.items

    def _end(self, ended: TurnEnded) -> Iterator[ResponseStreamEvent]:
        if ended.reason == "text" and not self._output.ends_in_text:
            yield from self._output.write(TextWritten(text=""))
        yield from self._output.end_text(cut=ended.reason == "length")
        for call in ended.awaiting:
            yield from self._output.ask(call, self._label(call))
        frame.end(self._response, ended)
        if ended.reason == "length":
            yield ResponseIncompleteEvent.construct(
                type="response.incomplete", response=self._response, sequence_number=self._output.next_number()
            )
        else:
            yield ResponseCompletedEvent.construct(
                type="response.completed", response=self._response, sequence_number=self._output.next_number()
            )

    def _label(self, call: ToolCall) -> str:
        return self._listed.label_of(call.name)


def dumped(value: Response | ResponseStreamEvent) -> str:
    """As JSON text, with the fields that were given."""
    return value.model_dump_json(exclude_unset=True, by_alias=True)
