"""One stream: calls as they are complete, or text; limits, stop strings, second chances and duplicates in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from grammars.conversation import Choice
from grammars.dialects import DIALECTS, JSON, Dialect
from grammars.errors import DecodingFailed
from grammars.prompt import calls_text, render_for_answer
from grammars.tools import ToolCall
from serving.decode.events import CallWritten, TextWritten
from serving.decode.round import DecodeOptions
from serving.engines.scripted import Failure
from tests.serving.decode.rounds import (
    BYTES,
    Round,
    bag,
    calls_of,
    conversation,
    ended,
    failures_of,
    note,
    text_of,
)

MARKED = {name: dialect for name, dialect in DIALECTS.items() if dialect.marks is not None}
UNMARKED = {name: dialect for name, dialect in DIALECTS.items() if dialect.marks is None}

A = ToolCall(id="", name="note", arguments={"text": "a"})
B = ToolCall(id="", name="note", arguments={"text": "b"})
NOW = ToolCall(id="", name="now", arguments={})
REPEATS = ToolCall(id="", name="pack.bag", arguments={"things": ["a", "a"]})
"""The grammar takes it; the whole schema does not."""


def in_one_stream(
    calls: Sequence[ToolCall], choice: Choice | None = None, *, dialect: Dialect = JSON, **given: Any
) -> Round:
    return Round(conversation(choice), stream=calls_text(calls, dialect), dialect=dialect, **given)


async def sequential(round: Round, **request: Any) -> list[Any]:
    return await round.run(decoding="sequential", **request)


# Calls


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
async def test_each_call_is_handed_on_while_the_next_is_written(dialect: Dialect) -> None:
    round = in_one_stream([A, B, NOW], dialect=dialect)
    calls, live = [], []
    async for event in round.events(decoding="sequential"):
        if isinstance(event, CallWritten):
            calls.append((event.index, event.call.name, event.call.arguments_text))
            live.append(round.engine.live_branches)
    assert calls == [(0, "note", note("a")), (1, "note", note("b")), (2, "now", "{}")]
    assert live[:2] == [1, 1]
    assert round.kinds == ["stream"]


async def test_parallel_decoding_of_at_most_one_call_is_one_stream() -> None:
    for choice in (Choice(most=1), Choice(mode="required", most=1), Choice(exact=("note",))):
        round = in_one_stream([A], choice)
        events = await round.run(decoding="parallel")
        assert calls_of(events) == [(0, "note", note("a"))]
        assert round.kinds == ["stream"]


async def test_every_token_costs_a_step_unless_forced_ones_are_skipped() -> None:
    stepping = ended(await sequential(in_one_stream([A, NOW]))).figures
    skipping = ended(await sequential(in_one_stream([A, NOW]), skip_forced=True)).figures
    assert stepping.steps == stepping.completion_tokens == len(calls_text([A, NOW], JSON))
    assert skipping.completion_tokens == stepping.completion_tokens
    assert skipping.steps < stepping.steps / 3
    instead_of_parallel = ended(await in_one_stream([A], Choice(most=1)).run(decoding="parallel")).figures
    assert instead_of_parallel.steps < instead_of_parallel.completion_tokens / 3, "as its branches would have done"


# Text


TEXTS = ["Hello.", "{}", '{"tool', "<tool", "[TOOL", "[]"]


@pytest.mark.parametrize("dialect", UNMARKED.values(), ids=UNMARKED)
@pytest.mark.parametrize("text", TEXTS)
async def test_text_is_streamed_and_never_taken_for_calls(text: str, dialect: Dialect) -> None:
    round = Round(conversation(), stream=text, dialect=dialect)
    events = await sequential(round)
    assert text_of(events) == text
    assert ended(events).reason == "text"
    assert [span.label for span in ended(events).figures.spans] == ["text"]


@pytest.mark.parametrize("dialect", MARKED.values(), ids=MARKED)
@pytest.mark.parametrize("text", TEXTS)
async def test_trained_model_writes_its_text_on_the_prompt_that_it_learned_it_on(text: str, dialect: Dialect) -> None:
    round = Round(conversation(), stream=text, text="In words.", dialect=dialect)
    events = await sequential(round)
    assert (text_of(events), ended(events).reason) == ("In words.", "text")
    assert [span.label for span in ended(events).figures.spans] == ["decision", "text"]
    assert round.engine.prefixes[-1] == render_for_answer(conversation(), dialect, BYTES)


async def test_long_text_comes_as_it_is_written() -> None:
    round = Round(conversation(), stream="Hello there.")
    async for event in round.events(decoding="sequential"):
        if isinstance(event, TextWritten):
            assert round.engine.live_branches == 1, "it still decodes"
            return
    pytest.fail("no text came")


# Limits


async def test_calls_that_a_limit_cuts_end_with_those_that_are_complete() -> None:
    complete = len(calls_text([A, B], JSON))
    round = in_one_stream([A, B, NOW])
    events = await sequential(round, max_tokens=complete + 5)
    assert calls_of(events) == [(0, "note", note("a")), (1, "note", note("b"))]
    assert failures_of(events) == []
    assert ended(events).reason == "length"
    assert ended(events).figures.completion_tokens == complete + 5


@pytest.mark.parametrize("mode", ["auto", "none"])
async def test_text_that_a_limit_cuts_ends_as_length(mode: Any) -> None:
    round = Round(conversation(Choice(mode=mode)), stream="Hello.", text="Hello.")
    events = await sequential(round, max_tokens=4)
    assert (text_of(events), ended(events).reason) == ("Hell", "length")


async def test_beginning_of_calls_that_a_limit_cuts_is_text_only_where_text_is_allowed() -> None:
    for choice, text in ((Choice(), '{"tool'), (Choice(mode="required"), ""), (Choice(least=1), "")):
        events = await sequential(in_one_stream([A], choice), max_tokens=6)
        assert (text_of(events), calls_of(events), ended(events).reason) == (text, [], "length")


async def test_stream_has_the_finite_limit_of_the_options() -> None:
    round = in_one_stream([NOW], options=DecodeOptions(stream_tokens=123))
    await sequential(round)
    await sequential(in_one_stream([NOW]), max_tokens=10_000)
    assert [branch.max_new_tokens for branch in round.engine.branches] == [123]


# Stop strings


@pytest.mark.parametrize("mode", ["auto", "none"])
async def test_stop_string_ends_a_text_and_what_came_is_counted(mode: Any) -> None:
    text = "One. Two. END Three."
    round = Round(conversation(Choice(mode=mode)), stream=text, text=text, step_s=0.0001)
    events = await sequential(round, stop=("END", "never"))
    assert text_of(events) == "One. Two. "
    assert (ended(events).reason, ended(events).stop) == ("text", "END")
    figures = ended(events).figures
    assert figures.steps == figures.completion_tokens == len("One. Two. END")
    [span] = figures.spans
    assert (span.label, span.steps) == ("text", figures.steps)
    assert 0 < span.start_s < span.end_s


@pytest.mark.parametrize("mode", ["auto", "none"])
async def test_what_might_have_been_a_stop_string_is_given_out_at_the_end(mode: Any) -> None:
    round = Round(conversation(Choice(mode=mode)), stream="The EN", text="The EN")
    events = await sequential(round, stop=("END",))
    assert (text_of(events), ended(events).reason, ended(events).stop) == ("The EN", "text", None)


async def test_stop_strings_do_not_cut_calls() -> None:
    events = await sequential(in_one_stream([A, NOW]), stop=("note", "{", "}"))
    assert calls_of(events) == [(0, "note", note("a")), (1, "now", "{}")]


# The second chance, and duplicates


async def test_invalid_call_is_written_once_more_after_the_others_at_its_own_place() -> None:
    round = in_one_stream([A, REPEATS, NOW], retries=[bag("a", "b")])
    events = await sequential(round)
    assert calls_of(events) == [(0, "note", note("a")), (2, "now", "{}"), (1, "pack.bag", bag("a", "b"))]
    figures = ended(events).figures
    [stream], [retry] = round.engine.groups
    assert (figures.fallbacks, figures.steps) == (1, stream.steps + retry.steps)
    assert [span.label for span in figures.spans] == ["calls", "pack.bag (retry)"]
    assert ended(events).reason == "calls"


async def test_call_that_is_invalid_twice_fails_alone() -> None:
    round = in_one_stream([A, REPEATS, NOW], retries=[REPEATS.arguments_text])
    events = await sequential(round)
    assert calls_of(events) == [(0, "note", note("a")), (2, "now", "{}")]
    assert failures_of(events) == [(1, "pack.bag", "invalid_arguments")]
    assert round.kinds == ["stream", "retry"]


@pytest.mark.parametrize(
    ("choice", "kept"), [(Choice(), 1), (Choice(least=2), 2), (Choice(least=3), 3), (Choice(exact=("note",) * 3), 3)]
)
async def test_duplicates_are_removed_down_to_the_least_calls(choice: Choice, kept: int) -> None:
    events = await sequential(in_one_stream([A, A, A], choice))
    assert calls_of(events) == [(place, "note", note("a")) for place in range(kept)]
    assert ended(events).figures.duplicates_removed == 3 - kept


async def test_places_of_dropped_duplicates_stay_unused() -> None:
    assert [index for index, _, _ in calls_of(await sequential(in_one_stream([A, A, B])))] == [0, 2]


# Streams that break


@pytest.mark.parametrize("mode", ["auto", "none"])
async def test_stream_that_breaks_with_nothing_written_fails(mode: Any) -> None:
    broken = Failure(error="out of fuel")
    round = Round(conversation(Choice(mode=mode)), stream=broken, text=broken)
    with pytest.raises(DecodingFailed, match="out of fuel"):
        await sequential(round)
    assert round.engine.live_branches == 0


async def test_stream_that_breaks_after_calls_ends_as_cut() -> None:
    round = Round(conversation(), stream=calls_text([A], JSON).removesuffix("]}") + ", what?")
    events = await sequential(round)
    assert calls_of(events) == [(0, "note", note("a"))]
    assert ended(events).reason == "length"


# Leaving


@pytest.mark.parametrize("mode", ["auto", "none"])
async def test_closing_the_round_frees_its_stream(mode: Any) -> None:
    text = "word " * 100
    round = Round(conversation(Choice(mode=mode)), stream=text, text=text, step_s=0.001)
    events = round.events(decoding="sequential")
    await anext(events)
    assert round.engine.live_branches == 1
    await events.aclose()
    assert round.engine.live_branches == 0


async def test_cancelling_the_reader_frees_a_stream_that_has_said_nothing_yet() -> None:
    round = in_one_stream([A, B], step_s=0.01)
    reading = asyncio.create_task(sequential(round))
    while not round.engine.live_branches:
        await asyncio.sleep(0.001)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert round.engine.live_branches == 0
