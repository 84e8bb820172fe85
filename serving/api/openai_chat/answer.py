"""Turn events as OpenAI's Chat Completions, whole or in chunks. Both forms are written from the same events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from openai.types import CompletionUsage
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    ChatCompletionTokenLogprob,
)
from openai.types.chat.chat_completion import Choice as WholeChoice
from openai.types.chat.chat_completion import ChoiceLogprobs as WholeLogprobs
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from openai.types.chat.chat_completion_chunk import ChoiceDelta, ChoiceDeltaToolCall, ChoiceDeltaToolCallFunction
from openai.types.chat.chat_completion_chunk import ChoiceLogprobs as ChunkLogprobs
from openai.types.chat.chat_completion_message_function_tool_call import (
    ChatCompletionMessageFunctionToolCall as WholeCall,
)
from openai.types.chat.chat_completion_message_function_tool_call import Function as WholeFunction
from openai.types.chat.chat_completion_token_logprob import TopLogprob
from openai.types.completion_usage import PromptTokensDetails
from sse_starlette import ServerSentEvent

from grammars.tools import ToolCall, json_text
from serving.api.errors import fault_of, openai_error
from serving.api.openai_chat.server_fields import listed_fields, ran_fields, with_fields
from serving.api.turn_report import report
from serving.decode.events import TextWritten
from serving.engines.base import TokenLogprob
from serving.turn_events import CallHandedBack, ToolsListed, TurnBegan, TurnEnded, TurnEvent

FinishReason = Literal["stop", "length", "tool_calls"]


class ChatAnswer:
    """Writes one answer, of a turn from `TurnBegan` on. `named`: the caller chose one tool by name, for which OpenAI
    reports `stop`.
    """

    def __init__(self, *, model: str, named: bool, include_usage: bool, index: int = 0) -> None:
        self._id = ""
        self._created = 0
        self._model = model
        self._named = named
        self._include_usage = include_usage
        self._index = index
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
        pieces: list[TextWritten] = []
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
                    pieces.append(event)
                case CallHandedBack():
                    calls.append(event.call)
                case TurnEnded():
                    ended = event
        assert ended is not None  # the turn's contract
        text = "".join(piece.text for piece in pieces)
        message = ChatCompletionMessage(role="assistant", content=text if pieces or not calls else None)
        if calls:
            message.tool_calls = [whole_call(call) for call in calls]
        if listed is not None and listed.servers:
            fields = {**listed_fields(listed), **ran_fields(listed, ended)}
            message.provider_specific_fields = fields  # type: ignore[attr-defined]
        likely = content_logprobs([logprob for piece in pieces for logprob in piece.logprobs])
        choice = WholeChoice(
            index=self._index,
            message=message,
            finish_reason=self._finish_reason(ended),
            logprobs=None if likely is None else WholeLogprobs(content=likely, refusal=None),
        )
        return ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._model,
            choices=[choice],
            usage=usage(ended),
            **{"polycall": report(ended).model_dump(mode="json")},  # type: ignore[arg-type]
        )

    def opening(self) -> ChatCompletionChunk:
        """A chunk that says only whose words follow, for a stream in which the first of them may take their time."""
        return self._delta(ChoiceDelta())

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
                yield self._delta(ChoiceDelta(content=event.text), event.logprobs)
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
        self._id = completion_id(began)
        self._created = int(began.created_s)

    def _delta(self, delta: ChoiceDelta, logprobs: Sequence[TokenLogprob] = ()) -> ChatCompletionChunk:
        if not self._sent_role:
            self._sent_role = True
            delta.role = "assistant"
        likely = content_logprobs(logprobs)
        choice = ChunkChoice(
            index=self._index,
            delta=delta,
            finish_reason=None,
            logprobs=None if likely is None else ChunkLogprobs(content=likely, refusal=None),
        )
        return self._chunk([choice], None)

    def _finish(self, ended: TurnEnded) -> ChatCompletionChunk:
        delta = ChoiceDelta()
        if self._listed is not None:
            with_fields(delta, ran_fields(self._listed, ended))
        reason = self._finish_reason(ended)
        choice = ChunkChoice(index=self._index, delta=delta, finish_reason=reason, logprobs=None)
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


def completion_id(began: TurnBegan) -> str:
    """The id of the answer that a turn gives."""
    return f"chatcmpl-{began.turn_id.removeprefix('turn_')}"


def whole_call(call: ToolCall) -> WholeCall:
    return WholeCall(id=call.id, type="function", function=WholeFunction(name=call.name, arguments=call.arguments_text))


def call_parts(event: CallHandedBack) -> Iterator[ChoiceDeltaToolCall]:
    """One call as deltas: what it is, once, then its arguments. Clients concatenate; none may be sent twice."""
    call = event.call
    opening = ChoiceDeltaToolCallFunction(name=call.name, arguments="")
    yield ChoiceDeltaToolCall(index=event.position, id=call.id, type="function", function=opening)
    arguments = ChoiceDeltaToolCallFunction(arguments=call.arguments_text)
    yield ChoiceDeltaToolCall(index=event.position, function=arguments)


def content_logprobs(logprobs: Sequence[TokenLogprob]) -> list[ChatCompletionTokenLogprob] | None:
    """How likely the tokens of the text were; None where nobody asked, or nothing was written in text."""
    return [
        ChatCompletionTokenLogprob(
            token=token.text,
            bytes=list(token.bytes),
            logprob=token.logprob,
            top_logprobs=[TopLogprob(token=top.text, bytes=list(top.bytes), logprob=top.logprob) for top in token.top],
        )
        for token in logprobs
    ] or None


def usage(*choices: TurnEnded) -> CompletionUsage:
    """The tokens of all rounds: what each read, which is the same for all choices, and what all streams wrote."""
    figures = [ended.figures for ended in choices]
    read, cached = figures[0].prompt_tokens, figures[0].cached_tokens
    written = sum(its.completion_tokens for its in figures)
    used = CompletionUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
    if cached is not None:
        used.prompt_tokens_details = PromptTokensDetails(cached_tokens=cached)
    return used
