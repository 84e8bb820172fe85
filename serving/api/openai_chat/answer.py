"""Turn events as OpenAI's Chat Completions, whole or in chunks. Both forms are written from the same events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice as WholeChoice
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from openai.types.chat.chat_completion_chunk import ChoiceDelta, ChoiceDeltaToolCall, ChoiceDeltaToolCallFunction
from openai.types.chat.chat_completion_message_function_tool_call import (
    ChatCompletionMessageFunctionToolCall as WholeCall,
)
from openai.types.chat.chat_completion_message_function_tool_call import Function as WholeFunction
from sse_starlette import ServerSentEvent

from grammars.tools import ToolCall, json_text
from serving.api.errors import fault_of, openai_error
from serving.api.openai_chat.server_fields import listed_fields, ran_fields, with_fields
from serving.api.turn_report import report
from serving.decode.events import TextWritten
from serving.turn_events import CallHandedBack, ToolsListed, TurnBegan, TurnEnded, TurnEvent

FinishReason = Literal["stop", "length", "tool_calls"]


class ChatAnswer:
    """Writes one answer, of a turn from `TurnBegan` on. `named`: the caller chose one tool by name, for which OpenAI
    reports `stop`.
    """

    def __init__(self, *, model: str, named: bool, include_usage: bool) -> None:
        self._id = ""
        self._created = 0
        self._model = model
        self._named = named
        self._include_usage = include_usage
        self._sent_role = False
        self._sent_content = False
        self._listed: ToolsListed | None = None

    def whole(self, events: Sequence[TurnEvent]) -> str:
        return self.completion(events).model_dump_json(exclude_unset=True)

    def streamed(self, event: TurnEvent) -> Iterator[ServerSentEvent]:
        for chunk in self.chunks(event):
            yield ServerSentEvent(chunk.model_dump_json(exclude_unset=True))

    def closing(self) -> Iterator[ServerSentEvent]:
        yield ServerSentEvent("[DONE]")

    def broken(self, error: Exception) -> Iterator[ServerSentEvent]:
        yield ServerSentEvent(json_text(openai_error(fault_of(error))))

    def completion(self, events: Sequence[TurnEvent]) -> ChatCompletion:
        """The answer in one piece, of all events of a turn."""
        pieces: list[str] = []
        calls: list[ToolCall] = []
        listed: ToolsListed | None = None
        ended: TurnEnded | None = None
        for event in events:
            match event:
                case TurnBegan():
                    self._begin(event)
                case ToolsListed():
                    listed = event
                case TextWritten():
                    pieces.append(event.text)
                case CallHandedBack():
                    calls.append(event.call)
                case TurnEnded():
                    ended = event
        assert ended is not None  # the turn's contract
        message = ChatCompletionMessage(role="assistant", content="".join(pieces) if pieces or not calls else None)
        if calls:
            message.tool_calls = [whole_call(call) for call in calls]
        if listed is not None and listed.servers:
            fields = {**listed_fields(listed), **ran_fields(listed, ended)}
            message.provider_specific_fields = fields  # type: ignore[attr-defined]
        choice = WholeChoice(index=0, message=message, finish_reason=self._finish_reason(ended), logprobs=None)
        return ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._model,
            choices=[choice],
            usage=usage(ended),
            **{"polycall": report(ended).model_dump(mode="json")},  # type: ignore[arg-type]
        )

    def chunks(self, event: TurnEvent) -> Iterator[ChatCompletionChunk]:
        """The chunks that the next event of a turn adds, often none."""
        match event:
            case TurnBegan():
                self._begin(event)
            case ToolsListed():
                if event.servers:
                    self._listed = event
                    yield self._delta(with_fields(ChoiceDelta(), listed_fields(event)))
            case TextWritten():
                self._sent_content = True
                yield self._delta(ChoiceDelta(content=event.text))
            case CallHandedBack():
                self._sent_content = True
                yield from (self._delta(ChoiceDelta(tool_calls=[part])) for part in call_parts(event))
            case TurnEnded():
                if not self._sent_content:
                    yield self._delta(ChoiceDelta(content=""))
                yield self._finish(event)
                if self._include_usage:
                    yield self._chunk([], usage(event))

    def _begin(self, began: TurnBegan) -> None:
        """An answer that is given again has the same id as the first time."""
        self._id = f"chatcmpl-{began.turn_id.removeprefix('turn_')}"
        self._created = int(began.created_s)

    def _delta(self, delta: ChoiceDelta) -> ChatCompletionChunk:
        if not self._sent_role:
            self._sent_role = True
            delta.role = "assistant"
        return self._chunk([ChunkChoice(index=0, delta=delta, finish_reason=None, logprobs=None)], None)

    def _finish(self, ended: TurnEnded) -> ChatCompletionChunk:
        delta = ChoiceDelta()
        if self._listed is not None:
            with_fields(delta, ran_fields(self._listed, ended))
        choice = ChunkChoice(index=0, delta=delta, finish_reason=self._finish_reason(ended), logprobs=None)
        chunk = self._chunk([choice], None)
        chunk.polycall = report(ended).model_dump(mode="json")  # type: ignore[attr-defined]
        return chunk

    def _chunk(self, choices: list[ChunkChoice], used: CompletionUsage | None) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk(
            id=self._id, object="chat.completion.chunk", created=self._created, model=self._model, choices=choices
        )
        if self._include_usage:
            chunk.usage = used  # null in every chunk but the last
        return chunk

    def _finish_reason(self, ended: TurnEnded) -> FinishReason:
        if ended.reason == "length":
            return "length"
        return "tool_calls" if ended.reason == "calls" and not self._named else "stop"


def whole_call(call: ToolCall) -> WholeCall:
    return WholeCall(id=call.id, type="function", function=WholeFunction(name=call.name, arguments=call.arguments_text))


def call_parts(event: CallHandedBack) -> Iterator[ChoiceDeltaToolCall]:
    """One call as deltas: what it is, once, then its arguments. Clients concatenate; none may be sent twice."""
    call = event.call
    opening = ChoiceDeltaToolCallFunction(name=call.name, arguments="")
    yield ChoiceDeltaToolCall(index=event.position, id=call.id, type="function", function=opening)
    arguments = ChoiceDeltaToolCallFunction(arguments=call.arguments_text)
    yield ChoiceDeltaToolCall(index=event.position, function=arguments)


def usage(ended: TurnEnded) -> CompletionUsage:
    """The tokens of all rounds: what each read, and what all streams wrote."""
    read, written = ended.figures.prompt_tokens, ended.figures.completion_tokens
    return CompletionUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
