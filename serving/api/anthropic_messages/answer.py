"""Turn events as Anthropic's Messages, whole or streamed. Both forms are written from the same events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anthropic import BaseModel
from anthropic.types import (
    ContentBlock,
    InputJSONDelta,
    Message,
    MessageDeltaUsage,
    RawContentBlockDeltaEvent,
    RawContentBlockStartEvent,
    RawContentBlockStopEvent,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    RawMessageStopEvent,
    RawMessageStreamEvent,
    StopReason,
    TextBlock,
    TextDelta,
    ToolUseBlock,
    Usage,
)
from anthropic.types.raw_message_delta_event import Delta
from sse_starlette import ServerSentEvent

from grammars.tools import ToolCall, json_text
from serving.api.anthropic_messages.error import anthropic_error
from serving.api.anthropic_messages.tool_use_ids import tool_use_id
from serving.api.errors import fault_of
from serving.api.turn_report import report
from serving.decode.events import TextWritten
from serving.execute.execute import CallFinished, CallStarted
from serving.turn_events import CallHandedBack, TurnBegan, TurnEnded, TurnEvent

MESSAGE = "msg_"
TURN = "turn_"
"""How the ids of messages begin, and of the turns whose they are."""


class MessagesAnswer:
    """Writes one answer, of a turn from `TurnBegan` on.

    Blocks stand in the order in which they were written. A text ends where the server runs a call, and
    what is written after it is a text of its own.
    """

    def __init__(self, *, model: str) -> None:
        self._model = model
        self._blocks = 0
        self._in_text = False

    def whole(self, events: Sequence[TurnEvent]) -> str:
        return dumped(self.message(events))

    def streamed(self, event: TurnEvent) -> Iterator[ServerSentEvent]:
        for sent in self.parts(event):
            yield ServerSentEvent(dumped(sent), event=sent.type)

    def closing(self) -> Iterator[ServerSentEvent]:
        yield ServerSentEvent(dumped(RawMessageStopEvent(type="message_stop")), event="message_stop")

    def broken(self, error: Exception) -> Iterator[ServerSentEvent]:
        yield ServerSentEvent(json_text(anthropic_error(fault_of(error))), event="error")

    def message(self, events: Sequence[TurnEvent]) -> Message:
        """The answer in one piece, of all events of a turn."""
        turn_id = ""
        blocks: list[ContentBlock] = []
        in_text = False
        ended: TurnEnded | None = None
        for event in events:
            match event:
                case TurnBegan():
                    turn_id = event.turn_id
                case TextWritten(text=text) if text:
                    if in_text and isinstance(blocks[-1], TextBlock):
                        blocks[-1].text += text
                    else:
                        in_text = True
                        blocks.append(TextBlock(type="text", text=text))
                case CallStarted() | CallFinished():
                    in_text = False
                case CallHandedBack():
                    in_text = False
                    blocks.append(tool_use(event.call, dict(event.call.arguments)))
                case TurnEnded():
                    ended = event
        assert ended is not None  # the turn's contract
        return Message(
            id=message_id(turn_id),
            type="message",
            role="assistant",
            model=self._model,
            content=blocks,
            stop_reason=stop_reason(ended),
            stop_sequence=stop_sequence(ended),
            usage=usage(ended),
            **{"polycall": report(ended).model_dump(mode="json")},  # type: ignore[arg-type]
        )

    def parts(self, event: TurnEvent) -> Iterator[RawMessageStreamEvent]:
        """The stream events that the next event of a turn adds, often none. A call comes whole, one after another."""
        match event:
            case TurnBegan():
                yield RawMessageStartEvent(type="message_start", message=self._begun(event))
            case TextWritten(text=text) if text:
                if not self._in_text:
                    self._in_text = True
                    yield self._start(TextBlock(type="text", text=""))
                yield self._delta(TextDelta(type="text_delta", text=text))
            case CallStarted() | CallFinished():
                yield from self._end_text()
            case CallHandedBack(call=call):
                yield from self._end_text()
                yield self._start(tool_use(call, {}))
                yield self._delta(InputJSONDelta(type="input_json_delta", partial_json=call.arguments_text))
                yield self._stop()
            case TurnEnded():
                yield from self._end_text()
                yield self._over(event)

    def _begun(self, began: TurnBegan) -> Message:
        """The message while nothing of it is written. What the turn reads is known at its end."""
        return Message(
            id=message_id(began.turn_id),
            type="message",
            role="assistant",
            model=self._model,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            usage=Usage(input_tokens=0, output_tokens=0),
        )

    def _start(self, block: TextBlock | ToolUseBlock) -> RawContentBlockStartEvent:
        return RawContentBlockStartEvent(type="content_block_start", index=self._blocks, content_block=block)

    def _delta(self, delta: TextDelta | InputJSONDelta) -> RawContentBlockDeltaEvent:
        return RawContentBlockDeltaEvent(type="content_block_delta", index=self._blocks, delta=delta)

    def _stop(self) -> RawContentBlockStopEvent:
        self._blocks += 1
        return RawContentBlockStopEvent(type="content_block_stop", index=self._blocks - 1)

    def _end_text(self) -> Iterator[RawContentBlockStopEvent]:
        if self._in_text:
            self._in_text = False
            yield self._stop()

    def _over(self, ended: TurnEnded) -> RawMessageDeltaEvent:
        spent = usage(ended)
        return RawMessageDeltaEvent(
            type="message_delta",
            delta=Delta(stop_reason=stop_reason(ended), stop_sequence=stop_sequence(ended)),
            usage=MessageDeltaUsage(**spent.model_dump(exclude_unset=True)),
            **{"polycall": report(ended).model_dump(mode="json")},  # type: ignore[arg-type]
        )


def dumped(sent: BaseModel) -> str:
    return sent.model_dump_json(exclude_unset=True)


def message_id(turn_id: str) -> str:
    """The id of the turn's message: the same when it is given again."""
    return MESSAGE + turn_id.removeprefix(TURN)


def tool_use(call: ToolCall, arguments: dict[str, object]) -> ToolUseBlock:
    return ToolUseBlock(type="tool_use", id=tool_use_id(call.id), name=call.name, input=arguments)


def stop_reason(ended: TurnEnded) -> StopReason:
    """Why the answer ends. One that a limit cut is never `tool_use`: clients would run what was asked for."""
    match ended.reason:
        case "length":
            return "max_tokens"
        case "calls":
            return "tool_use"
        case "text" if ended.stop is not None:
            return "stop_sequence"
        case _:
            return "end_turn"


def stop_sequence(ended: TurnEnded) -> str | None:
    return ended.stop if stop_reason(ended) == "stop_sequence" else None


def usage(ended: TurnEnded) -> Usage:
    """The tokens of all rounds: what each read, those that were cached apart, and what all streams wrote."""
    figures = ended.figures
    cached = figures.cached_tokens
    return Usage(
        input_tokens=figures.prompt_tokens - (cached or 0),
        cache_creation_input_tokens=None if cached is None else 0,
        cache_read_input_tokens=cached,
        output_tokens=figures.completion_tokens,
    )
