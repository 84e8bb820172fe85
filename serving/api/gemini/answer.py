"""Turn events as Gemini's GenerateContentResponse, whole or in chunks. Both forms are written from the same events.

A stream has one part a chunk, each call in one piece; its last chunk has an empty text, the finish reason, the usage
and the turn's report. No chunk is without a part: Google's own client forgets a turn of a chat that had such a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from google.genai.types import (
    Candidate,
    Content,
    FinishReason,
    FunctionCall,
    GenerateContentResponse,
    GenerateContentResponseUsageMetadata,
    LogprobsResult,
    LogprobsResultCandidate,
    LogprobsResultTopCandidates,
    Part,
)
from sse_starlette import ServerSentEvent

from grammars.tools import ToolCall, json_text
from serving.api.errors import fault_of
from serving.api.gemini.errors import gemini_error
from serving.api.turn_report import report
from serving.decode.events import TextWritten
from serving.engines.base import TokenLogprob
from serving.turn_events import CallHandedBack, TurnBegan, TurnEnded, TurnEvent


class GeminiAnswer:
    """Writes one answer, of a turn from `TurnBegan` on. `logprobs`: the caller asked how likely the tokens were."""

    def __init__(self, *, model: str, logprobs: bool = False) -> None:
        self._id = ""
        self._model = model
        self._logprobs = logprobs

    def whole(self, events: Sequence[TurnEvent]) -> str:
        return json_text(self.response(events))

    def streamed(self, event: TurnEvent) -> Iterator[ServerSentEvent]:
        for chunk in self.chunks(event):
            yield ServerSentEvent(json_text(chunk))

    def closing(self) -> Iterator[ServerSentEvent]:
        """Nothing: the stream just ends."""
        yield from ()

    def broken(self, error: Exception) -> Iterator[ServerSentEvent]:
        yield ServerSentEvent(json_text(gemini_error(fault_of(error))))

    def response(self, events: Sequence[TurnEvent]) -> dict[str, Any]:
        """The answer in one piece, of all events of a turn. Pieces of text in a row are one part."""
        parts: list[Part] = []
        tokens: list[TokenLogprob] = []
        ended: TurnEnded | None = None
        for event in events:
            match event:
                case TurnBegan():
                    self._begin(event)
                case TextWritten():
                    tokens += event.logprobs
                    add_text(parts, event.text)
                case CallHandedBack():
                    parts.append(call_part(event.call))
                case TurnEnded():
                    ended = event
        assert ended is not None  # the turn's contract
        return self._ended(ended, parts or [Part(text="")], tokens)

    def chunks(self, event: TurnEvent) -> Iterator[dict[str, Any]]:
        """The chunks that the next event of a turn adds, often none."""
        match event:
            case TurnBegan():
                self._begin(event)
            case TextWritten() if event.text or (self._logprobs and event.logprobs):
                yield dumped(self._response([Part(text=event.text)], event.logprobs))
            case CallHandedBack():
                yield dumped(self._response([call_part(event.call)], ()))
            case TurnEnded():
                yield self._ended(event, [Part(text="")], ())

    def _begin(self, began: TurnBegan) -> None:
        """An answer that is given again has the same id as the first time."""
        self._id = began.turn_id

    def _response(self, parts: list[Part], tokens: Sequence[TokenLogprob]) -> GenerateContentResponse:
        candidate = Candidate(index=0, content=Content(role="model", parts=parts))
        if self._logprobs and tokens:
            candidate.logprobs_result = logprobs_result(tokens)
        return GenerateContentResponse(candidates=[candidate], model_version=self._model, response_id=self._id)

    def _ended(self, ended: TurnEnded, parts: list[Part], tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        response = self._response(parts, tokens)
        assert response.candidates is not None
        response.candidates[0].finish_reason = finish_reason(ended)
        response.usage_metadata = usage(ended)
        return {**dumped(response), "polycall": report(ended).model_dump(mode="json")}


def dumped(response: GenerateContentResponse) -> dict[str, Any]:
    """As Google's JSON, in camel case and without what was not said."""
    return response.model_dump(mode="json", by_alias=True, exclude_unset=True)


def add_text(parts: list[Part], text: str) -> None:
    """More text: of the last part, if that is text."""
    if parts and parts[-1].text is not None:
        parts[-1] = Part(text=parts[-1].text + text)
    elif text:
        parts.append(Part(text=text))


def call_part(call: ToolCall) -> Part:
    return Part(function_call=FunctionCall(id=call.id, name=call.name, args=dict(call.arguments)))


def finish_reason(ended: TurnEnded) -> FinishReason:
    """Google has no word of its own for calls."""
    return FinishReason.MAX_TOKENS if ended.reason == "length" else FinishReason.STOP


def usage(ended: TurnEnded) -> GenerateContentResponseUsageMetadata:
    """The tokens of all rounds: what each read, and what all streams wrote."""
    figures = ended.figures
    used = GenerateContentResponseUsageMetadata(
        prompt_token_count=figures.prompt_tokens,
        candidates_token_count=figures.completion_tokens,
        total_token_count=figures.prompt_tokens + figures.completion_tokens,
    )
    if figures.cached_tokens is not None:
        used.cached_content_token_count = figures.cached_tokens
    return used


def logprobs_result(tokens: Sequence[TokenLogprob]) -> LogprobsResult:
    """How likely the tokens of the text were, each with the likeliest in its place."""
    return LogprobsResult(
        chosen_candidates=[logprob(token) for token in tokens],
        top_candidates=[
            LogprobsResultTopCandidates(candidates=[logprob(top) for top in token.top]) for token in tokens
        ],
    )


def logprob(token: TokenLogprob) -> LogprobsResultCandidate:
    return LogprobsResultCandidate(token=token.text, log_probability=token.logprob)
