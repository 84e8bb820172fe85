"""The answer, whole and streamed, is written from the same events: whatever they are, both forms say the same."""

from __future__ import annotations

import json
from typing import Any

from google.genai.types import Content, FinishReason, GenerateContentResponse, Part
from hypothesis import given
from hypothesis import strategies as st

from serving.api.gemini.answer import GeminiAnswer
from serving.decode.events import TextWritten
from serving.engines.base import TokenLogprob
from serving.turn_events import CallHandedBack, TurnEnded, TurnEvent
from tests.serving.api.turns import turns

Said = tuple[GenerateContentResponse, dict[str, Any]]
"""An answer as Google's type has it, and the report beside it."""


def received(text: str) -> Said:
    """What a client gets: every field but the report is Google's."""
    body = json.loads(text)
    report = body.pop("polycall", None)
    return GenerateContentResponse.model_validate(body), report


def content(response: GenerateContentResponse) -> Content:
    assert response.candidates is not None
    [candidate] = response.candidates
    assert candidate.index == 0
    assert candidate.content is not None
    assert candidate.content.role == "model"
    return candidate.content


def finish(response: GenerateContentResponse) -> FinishReason | None:
    assert response.candidates is not None
    return response.candidates[0].finish_reason


def joined(parts: list[Part]) -> list[Any]:
    """The parts with texts in a row put together, and empty ones left out."""
    found: list[Any] = []
    for part in parts:
        if part.function_call is not None:
            found.append(part.function_call)
        elif found and isinstance(found[-1], str):
            found[-1] += part.text
        elif part.text:
            found.append(part.text)
    return found


def tokens(response: GenerateContentResponse) -> list[Any]:
    """The tokens whose log-probabilities are told, each with the likeliest in its place."""
    assert response.candidates is not None
    result = response.candidates[0].logprobs_result
    return [] if result is None else list(zip(result.chosen_candidates or [], result.top_candidates or [], strict=True))


@given(turns(), st.booleans())
def test_the_stream_put_together_equals_the_whole_answer(events: list[TurnEvent], logprobs: bool) -> None:
    answer = GeminiAnswer(model="m", logprobs=logprobs)
    chunks = [received(str(sent.data)) for event in events for sent in answer.streamed(event)]
    whole, report = received(GeminiAnswer(model="m", logprobs=logprobs).whole(events))
    assert joined([part for chunk, _ in chunks for part in content(chunk).parts or []]) == joined(
        content(whole).parts or []
    )
    assert [token for chunk, _ in chunks for token in tokens(chunk)] == tokens(whole)
    assert {(chunk.response_id, chunk.model_version) for chunk, _ in chunks} == {(whole.response_id, "m")}
    last, last_report = chunks[-1]
    assert finish(last) == finish(whole)
    assert (last.usage_metadata, last_report) == (whole.usage_metadata, report)
    for chunk, early in chunks[:-1]:
        assert (finish(chunk), chunk.usage_metadata, early) == (None, None, None)
    assert {len(content(chunk).parts or []) for chunk, _ in chunks} == {1}


@given(turns())
def test_the_whole_answer_says_what_the_turn_did(events: list[TurnEvent]) -> None:
    whole, _ = received(GeminiAnswer(model="m", logprobs=True).whole(events))
    calls = [part.function_call for part in content(whole).parts or [] if part.function_call]
    handed_back = [event.call for event in events if isinstance(event, CallHandedBack)]
    assert [(call.id, call.name, call.args) for call in calls] == [
        (call.id, call.name, dict(call.arguments)) for call in handed_back
    ]
    texts = [event for event in events if isinstance(event, TextWritten)]
    assert "".join(part.text or "" for part in content(whole).parts or []) == "".join(event.text for event in texts)
    assert [(chosen.token, chosen.log_probability) for chosen, _ in tokens(whole)] == [
        (token.text, token.logprob) for event in texts for token in event.logprobs
    ]
    cut = isinstance(events[-1], TurnEnded) and events[-1].reason == "length"
    assert finish(whole) == (FinishReason.MAX_TOKENS if cut else FinishReason.STOP)


def test_log_probabilities_are_not_told_unasked() -> None:
    token = TokenLogprob(text="a", bytes=(97,), logprob=-1.0)
    [sent] = GeminiAnswer(model="m").streamed(TextWritten(text="a", logprobs=(token,)))
    assert tokens(received(str(sent.data))[0]) == []
