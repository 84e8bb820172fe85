"""A turn that goes on after it broke off: what was begun is found again, and nothing that must not runs twice."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from grammars.errors import JournalUnavailable
from grammars.tools import CallError, ToolCall, ToolResult
from serving.execute.facts import ToolFacts
from serving.execute.journal import Hold, JournaledCall, JournaledTurn
from serving.execute.journal_memory import MemoryJournal
from serving.execute.turn_recorder import TurnRecorder

ONCE = ToolFacts()
OFTEN = ToolFacts(idempotent=True)
READ = ToolFacts(read_only=True)


def call(name: str = "charge", id: str = "new", **arguments: Any) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments)


def before(name: str = "charge", round: int = 1, result: ToolResult | None = None, **arguments: Any) -> JournaledCall:
    return JournaledCall(
        id=f"old_{name}_{arguments}",
        round=round,
        name=name,
        arguments=arguments,
        repeatable=name == "look_up",
        started_s=time.time(),
        result=result,
    )


def value(what: Any) -> ToolResult:
    return ToolResult(call_id="old", value=what)


def error(kind: str) -> ToolResult:
    return ToolResult(call_id="old", error=CallError(kind=kind, message="so it was"))  # type: ignore[arg-type]


class Attempt:
    """A turn with what was begun in it before, and its recorder in round 1."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.hold = Hold(turn_id="turn_1")
        self.recorder: TurnRecorder

    async def begin(self, *calls: JournaledCall) -> TurnRecorder:
        await self.journal.begin(self.hold, "", None)
        for one in calls:
            await self.journal.intent(self.hold, one)
        self.recorder = TurnRecorder(self.journal, self.hold, calls)
        self.recorder.begin_round(1)
        return self.recorder

    async def written(self) -> JournaledTurn:
        turn = await self.journal.turn("turn_1", "")
        assert turn is not None
        return turn


@pytest.fixture
def attempt() -> Attempt:
    return Attempt()


@pytest.mark.parametrize("facts", [ONCE, OFTEN, READ])
async def test_a_call_is_written_down_before_it_runs_and_its_outcome_after(attempt: Attempt, facts: ToolFacts) -> None:
    recorder = await attempt.begin()
    assert await recorder.intent(call(amount=5), facts) is None
    [entry] = (await attempt.written()).calls
    assert (entry.id, entry.round, entry.arguments, entry.repeatable) == ("new", 1, {"amount": 5}, facts.repeatable)
    assert entry.result is None
    recorder.outcome(call(amount=5), ToolResult(call_id="new", value="done"))
    [entry] = (await attempt.written()).calls
    assert entry.result == ToolResult(call_id="new", value="done")


@pytest.mark.parametrize("known", [value({"receipt": 1}), value(None), error("tool_error"), error("timeout")])
@pytest.mark.parametrize("facts", [ONCE, OFTEN])
async def test_a_call_that_ended_before_has_its_result_and_does_not_run(
    attempt: Attempt, known: ToolResult, facts: ToolFacts
) -> None:
    recorder = await attempt.begin(before(amount=5, result=known))
    result = await recorder.intent(call(amount=5.0), facts)
    assert result == ToolResult(call_id="new", value=known.value, error=known.error)
    assert [entry.id for entry in (await attempt.written()).calls] == ["new"]


@pytest.mark.parametrize("open_end", [None, error("cancelled")])
async def test_a_call_without_a_known_end_is_an_unknown_outcome_or_runs_again_as_its_tool_says(
    attempt: Attempt, open_end: ToolResult | None
) -> None:
    recorder = await attempt.begin(before(amount=5, result=open_end), before("look_up", result=open_end, word="x"))
    assert await recorder.intent(call("look_up", "again", word="x"), OFTEN) is None
    result = await recorder.intent(call(amount=5), ONCE)
    assert result is not None
    assert result.error is not None
    assert result.error.kind == "unknown_outcome"
    charge, look_up = sorted((await attempt.written()).calls, key=lambda entry: entry.name)
    assert charge.result == result, "written down, so that the next attempt says the same"
    assert (look_up.id, look_up.result) == ("again", None)


async def test_a_call_whose_tool_was_not_repeatable_when_it_began_does_not_run_again(attempt: Attempt) -> None:
    recorder = await attempt.begin(before(amount=5))
    assert await recorder.intent(call(amount=5), OFTEN) is not None


async def test_an_unknown_outcome_stays_unknown_in_later_rounds_and_attempts(attempt: Attempt) -> None:
    recorder = await attempt.begin(before(amount=5))
    first = await recorder.intent(call(amount=5), ONCE)
    recorder.begin_round(2)
    again = await recorder.intent(call(id="later", amount=5), ONCE)
    assert first is not None
    assert again is not None
    assert again.error == first.error
    next_attempt = TurnRecorder(attempt.journal, attempt.hold, (await attempt.written()).calls)
    next_attempt.begin_round(3)
    assert (await next_attempt.intent(call(id="last", amount=5), ONCE)) is not None
    assert (await next_attempt.intent(call(id="other", amount=6), ONCE)) is None


async def test_two_calls_alike_are_two_calls_of_which_one_was_begun(attempt: Attempt) -> None:
    recorder = await attempt.begin(before(amount=5, result=value("first")))
    results = [await recorder.intent(call(id=name, amount=5), ONCE) for name in ("one", "two")]
    assert [result and result.value for result in results] == ["first", None]


async def test_a_call_of_a_round_that_is_over_says_nothing_of_one_in_a_later_round(attempt: Attempt) -> None:
    recorder = await attempt.begin(before(amount=5, result=value("first")))
    recorder.begin_round(2)
    assert await recorder.intent(call(amount=5), ONCE) is None


class TestDeparture:
    """The model writes the open round again, and not as it did."""

    async def test_a_call_that_may_be_one_begun_before_waits_until_all_is_decoded(self, attempt: Attempt) -> None:
        recorder = await attempt.begin(before(amount=5, result=value("paid")))
        other = asyncio.create_task(recorder.intent(call(id="other", amount=6), ONCE))
        await asyncio.sleep(0.01)
        assert not other.done()
        assert await recorder.intent(call(amount=5), ONCE) is not None
        recorder.round_decoded()
        assert await other is None, "the one begun before was found, so this is another"

    async def test_in_place_of_one_begun_before_nothing_runs(self, attempt: Attempt) -> None:
        recorder = await attempt.begin(before(amount=5, result=value("paid")))
        recorder.round_decoded()
        result = await recorder.intent(call(amount=5.01), ONCE)
        assert result is not None
        assert result.error is not None
        assert result.error.kind == "unknown_outcome"
        assert '{"amount": 5}' in result.error.message

    @pytest.mark.parametrize(("name", "facts"), [("refund", ONCE), ("charge", OFTEN), ("charge", READ)])
    async def test_other_tools_and_repeatable_calls_run_at_once(
        self, attempt: Attempt, name: str, facts: ToolFacts
    ) -> None:
        recorder = await attempt.begin(before(amount=5), before("look_up", word="x"))
        assert await recorder.intent(call(name, amount=6), facts) is None

    async def test_the_next_round_is_free_of_what_was_left_open(self, attempt: Attempt) -> None:
        recorder = await attempt.begin(before(amount=5))
        recorder.round_decoded()
        recorder.begin_round(2)
        assert await recorder.intent(call(amount=6), ONCE) is None


async def test_a_call_that_cannot_be_written_down_does_not_run(attempt: Attempt) -> None:
    recorder = await attempt.begin()

    async def unavailable(*_: Any) -> None:
        raise JournalUnavailable("the disk is full")

    attempt.journal.intent = unavailable  # type: ignore[method-assign]
    result = await recorder.intent(call(amount=5), ONCE)
    assert result is not None
    assert result.error is not None
    assert result.error.kind == "tool_error"
    assert "the disk is full" in result.error.message
