"""Policy: one outcome for each call, within its time and size, tried again only where that does no harm."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from grammars.tools import Tool
from serving.execute.facts import ToolFacts
from serving.execute.policy import BACKOFF_S, MESSAGE_CHARACTERS, Outcome, outcomes
from serving.execute.server_tool import InvalidArguments, JsonBytes, ServerTool, ToolFailed, ToolRefused

LIMIT = 1000


@dataclass
class Single:
    """A runner that does what it is told for each attempt in turn, and keeps what it was asked."""

    attempts: Iterator[Any]
    asked: list[Mapping[str, Any]] = field(default_factory=list)

    async def run(self, arguments: Mapping[str, Any]) -> Any:
        self.asked.append(arguments)
        return await done(next(self.attempts))


@dataclass
class Batch(Single):
    """One with a batch form, which does one thing whenever it is asked."""

    whole: Any = None
    batches: list[list[Mapping[str, Any]]] = field(default_factory=list)

    async def run_batch(self, arguments: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        self.batches.append(list(arguments))
        values: Sequence[Any] = await done(self.whole)
        return values


async def done(what: Any) -> Any:
    if what is asyncio.sleep:
        await asyncio.sleep(60)
    if isinstance(what, BaseException):
        raise what
    return what


def tool(runner: Single, **facts: Any) -> ServerTool:
    return ServerTool(tool=Tool(name="look"), facts=ToolFacts(**facts), runner=runner)


async def one(*attempts: Any, **facts: Any) -> Outcome:
    (outcome,) = await outcomes(tool(Single(iter(attempts)), **facts), [{}], result_bytes=LIMIT)
    return outcome


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Odd:
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("attempt", "kind", "says"),
    [
        (ValueError("no such city"), "tool_error", "ValueError: no such city"),
        (ValueError(), "tool_error", "ValueError"),
        (SystemExit(3), "tool_error", "SystemExit: 3"),
        (KeyboardInterrupt(), "tool_error", "KeyboardInterrupt"),
        (asyncio.CancelledError(), "tool_error", "the tool cancelled itself"),
        (ExceptionGroup("two", [ValueError("a"), ValueError("b")]), "tool_error", "ExceptionGroup: two (2 sub-"),
        (Speechless(), "tool_error", "Speechless: it cannot say what is wrong"),
        (ValueError("\ud800"), "tool_error", r"ValueError: \ud800"),
        (InvalidArguments("city: is missing"), "invalid_arguments", "city: is missing"),
        (ToolRefused("not on Sundays"), "tool_error", "not on Sundays"),
        (ToolFailed("HTTP 503"), "tool_error", "HTTP 503"),
        (asyncio.sleep, "timeout", "no result within 0.05 s"),
        (math.nan, "tool_error", "the result is not JSON"),
        ({"deep": [math.inf]}, "tool_error", "the result is not JSON"),
        ("\ud800", "tool_error", "the result is not JSON"),
        (object(), "tool_error", "the result is not JSON"),
        (Odd(), "tool_error", "the result is not JSON"),
        (JsonBytes(b'{"a":'), "tool_error", "the result is not JSON"),
        (JsonBytes(b"NaN"), "tool_error", "the result is not JSON"),
        ("x" * 999, "result_too_large", "1001 bytes or more, and 1000 are allowed"),
        (["é" * 499], "result_too_large", "1002 bytes or more"),
        (JsonBytes(b" " * 1001), "result_too_large", "1001 bytes or more"),
        ("x" * 100_000_000, "result_too_large", "100000000 bytes or more"),
    ],
)
async def test_what_a_tool_does_wrong_is_a_typed_error(attempt: Any, kind: str, says: str) -> None:
    error = (await one(attempt, timeout_s=0.05)).error
    assert error is not None
    assert error.kind == kind
    assert says in error.message


async def test_words_without_end_are_cut_and_that_is_said() -> None:
    error = (await one(ValueError("x" * 10_000_000))).error
    assert error is not None
    assert len(error.message) < MESSAGE_CHARACTERS + 100
    assert error.message.endswith("(10000000 characters in all)")


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (None, None),
        (1.5, 1.5),
        ((1, 2), [1, 2]),
        ({1: {2}}, {"1": [2]}),
        ("x" * 998, "x" * 998),
        (b"bytes", "bytes"),
        (JsonBytes(b'{"a": [1, 2.0, "x"]}'), {"a": [1, 2.0, "x"]}),
        (2**80, 2**80),
    ],
)
async def test_a_value_is_what_json_makes_of_it(value: Any, as_json: Any) -> None:
    found = await one(value)
    assert found.error is None
    assert found.value == as_json


async def test_a_value_is_detached_from_what_the_tool_still_holds() -> None:
    held = {"list": [1]}
    found = await one(held)
    held["list"].append(2)
    assert found.value == {"list": [1]}


@pytest.mark.parametrize("safe", ["idempotent", "read_only"])
async def test_a_call_that_may_run_twice_is_tried_as_often_as_its_facts_say(safe: str) -> None:
    attempts = [ConnectionError("lost"), asyncio.sleep, ToolFailed("HTTP 503"), "there"]
    assert (await one(*attempts, retries=3, timeout_s=0.05, **{safe: True})).value == "there"
    error = (await one(*attempts, retries=2, timeout_s=0.05, **{safe: True})).error
    assert error is not None
    assert error.message == "HTTP 503"


@pytest.mark.parametrize("final", [InvalidArguments("no"), ToolRefused("no"), object(), "x" * 2000])
async def test_what_will_not_pass_is_not_tried_again(final: Any) -> None:
    runner = Single(iter([final, "there"]))
    (outcome,) = await outcomes(tool(runner, idempotent=True, retries=5), [{}], result_bytes=LIMIT)
    assert outcome.error is not None
    assert len(runner.asked) == 1


async def test_a_call_without_retries_is_tried_once() -> None:
    runner = Single(iter([ConnectionError("lost"), "there"]))
    (outcome,) = await outcomes(tool(runner, idempotent=True), [{}], result_bytes=LIMIT)
    assert outcome.error is not None
    assert len(runner.asked) == 1


async def test_waits_between_attempts_grow_and_are_chosen_at_random() -> None:
    took_s = set()
    for _ in range(3):
        begin_s = time.monotonic()
        await one(*[ConnectionError()] * 3, idempotent=True, retries=2)
        took_s.add(round(time.monotonic() - begin_s, 4))
    assert len(took_s) > 1
    assert max(took_s) < BACKOFF_S * (1 + 2) + 0.3


def batch(whole: Any, *attempts: Any) -> Batch:
    return Batch(iter(attempts), whole=whole)


CALLS: list[dict[str, Any]] = [{"n": 1}, {"n": 2}, {"n": 3}]


async def test_like_calls_are_one_invocation_and_its_results_are_split() -> None:
    runner = batch(["a", ValueError("no b"), math.nan])
    found = await outcomes(tool(runner), CALLS, result_bytes=LIMIT)
    assert runner.batches == [CALLS]
    assert found[0].value == "a"
    assert [outcome.error and outcome.error.message[:16] for outcome in found] == [
        None,
        "ValueError: no b",
        "the result is no",
    ]


async def test_one_call_needs_no_batch_form() -> None:
    runner = batch(None, "alone")
    assert [outcome.value for outcome in await outcomes(tool(runner), CALLS[:1], result_bytes=LIMIT)] == ["alone"]


@pytest.mark.parametrize(
    ("whole", "says"),
    [
        (ValueError("one is bad"), "ValueError: one is bad"),
        (["a", "b"], "the batch form gave 2 results for 3 calls"),
        (None, "TypeError"),
        (asyncio.sleep, "no result within 0.05 s"),
    ],
)
async def test_a_batch_that_fails_as_a_whole_is_run_call_by_call_only_if_that_does_no_harm(
    whole: Any, says: str
) -> None:
    found = await outcomes(tool(batch(whole), timeout_s=0.05), CALLS, result_bytes=LIMIT)
    assert all(outcome.error is not None and outcome.error.message.startswith(says) for outcome in found)
    runner = batch(whole, "a", ValueError("bad"), "c")
    found = await outcomes(tool(runner, timeout_s=0.05, read_only=True), CALLS, result_bytes=LIMIT)
    assert [outcome.value for outcome in found] == ["a", None, "c"]
    assert runner.asked == CALLS


async def test_a_call_of_a_batch_that_fails_is_tried_again_alone() -> None:
    runner = batch(["a", ConnectionError("lost"), ToolRefused("no")], "b")
    found = await outcomes(tool(runner, idempotent=True, retries=1), CALLS, result_bytes=LIMIT)
    assert [outcome.value for outcome in found] == ["a", "b", None]
    assert runner.asked == [{"n": 2}]


@pytest.mark.parametrize("what", [asyncio.sleep, ConnectionError("lost")])
async def test_cancelling_ends_an_attempt_and_the_wait_for_the_next_one(what: Any) -> None:
    def again() -> Iterator[Any]:
        while True:
            yield what

    look = tool(Single(again()), idempotent=True, retries=99)
    task = asyncio.ensure_future(outcomes(look, [{}], result_bytes=LIMIT))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
