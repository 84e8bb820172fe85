"""The answer, whole and streamed, is written from the same events: whatever they are, both forms say the same."""

from __future__ import annotations

import json
from typing import Any

from google.genai.types import Content, FinishReason, GenerateContentResponse, Part
from hypothesis import given

from serving.api.gemini.answer import GeminiAnswer
from serving.turn_events import CallHandedBack, TurnEvent
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


@given(turns())
def test_the_stream_put_together_equals_the_whole_answer(events: list[TurnEvent]) -> None:
    answer = GeminiAnswer(model="m")
    chunks = [received(str(sent.data)) for event in events for sent in answer.streamed(event)]
    (whole, report), (last, last_report) = received(GeminiAnswer(model="m").whole(events)), chunks[-1]
    streamed = [part for chunk, _ in chunks for part in content(chunk).parts or []]
    assert joined(streamed) == joined(content(whole).parts or [])
    assert whole.candidates is not None
    assert last.candidates is not None
    assert whole.candidates[0].finish_reason == last.candidates[0].finish_reason
    assert (whole.usage_metadata, report) == (last.usage_metadata, last_report)
    assert {(chunk.response_id, chunk.model_version) for chunk, _ in chunks} == {(whole.response_id, "m")}


@given(turns())
def test_only_the_last_chunk_says_that_the_answer_is_over_and_each_has_one_part(events: list[TurnEvent]) -> None:
    answer = GeminiAnswer(model="m")
    chunks = [received(str(sent.data)) for event in events for sent in answer.streamed(event)]
    for place, (chunk, report) in enumerate(chunks, start=1):
        is_last = place == len(chunks)
        assert chunk.candidates is not None
        assert (chunk.candidates[0].finish_reason is not None) == is_last
        assert (chunk.usage_metadata is not None) == (report is not None) == is_last
        assert len(content(chunk).parts or []) == 1


@given(turns())
def test_every_call_is_a_part_with_its_arguments_as_an_object_in_call_order(events: list[TurnEvent]) -> None:
    whole, _ = received(GeminiAnswer(model="m").whole(events))
    calls = [part.function_call for part in content(whole).parts or [] if part.function_call]
    handed_back = [event.call for event in events if isinstance(event, CallHandedBack)]
    assert [(call.id, call.name, call.args) for call in calls] == [
        (call.id, call.name, dict(call.arguments)) for call in handed_back
    ]


@given(turns())
def test_the_finish_is_a_limit_or_a_stop(events: list[TurnEvent]) -> None:
    whole, _ = received(GeminiAnswer(model="m").whole(events))
    assert whole.candidates is not None
    cut = events[-1].reason == "length"  # type: ignore[union-attr]
    assert whole.candidates[0].finish_reason == (FinishReason.MAX_TOKENS if cut else FinishReason.STOP)
