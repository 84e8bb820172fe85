"""Execution: all calls at once, exactly one result each, and no failure that reaches a sibling."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from grammars.tools import ToolCall
from serving.execute.execute import CallFinished, CallStarted, Execution, ExecutionEvent, Executor
from serving.execute.facts import Resource
from serving.execute.registry import Registry

registry = Registry()


@registry.tool()
async def nap(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return f"slept {seconds}"


@registry.tool()
def blocking_nap(seconds: float) -> str:
    time.sleep(seconds)
    return f"slept {seconds}"


@registry.tool()
def thread_name() -> str:
    return threading.current_thread().name


@registry.tool()
async def raises() -> None:
    raise ValueError("no such city")


@registry.tool()
def raises_in_thread() -> None:
    raise StopIteration


@registry.tool()
def exits() -> None:
    sys.exit(3)


@registry.tool()
async def exits_on_loop() -> None:
    sys.exit(3)


@registry.tool()
async def cancels_itself() -> None:
    raise asyncio.CancelledError


@registry.tool(timeout_s=0.05)
async def hangs() -> None:
    await asyncio.sleep(60)


@registry.tool(timeout_s=0.05)
def hangs_in_thread() -> None:
    time.sleep(0.5)


@registry.tool(timeout_s=0.05)
async def hangs_and_will_not_be_cancelled() -> None:
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            continue


@registry.tool()
async def own_timeout() -> None:
    raise TimeoutError("the weather service did not answer")


@registry.tool()
def unserialisable() -> object:
    return object()


@registry.tool()
def not_a_number() -> float:
    return math.nan


@registry.tool()
def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@asynccontextmanager
async def execution() -> AsyncIterator[tuple[Execution, asyncio.Queue[ExecutionEvent]]]:
    events: asyncio.Queue[ExecutionEvent] = asyncio.Queue()
    yield Executor(registry).begin(events.put_nowait), events


async def finished(events: asyncio.Queue[ExecutionEvent], count: int) -> dict[str, CallFinished]:
    """The next `count` finished calls, by call id."""
    found: dict[str, CallFinished] = {}
    while len(found) < count:
        event = await asyncio.wait_for(events.get(), 5)
        if isinstance(event, CallFinished):
            assert event.call.id not in found, "a call must have exactly one result"
            found[event.call.id] = event
    return found


async def result_of(name: str, **arguments: Any) -> CallFinished:
    async with execution() as (running, events):
        running.start(ToolCall(id="call_1", name=name, arguments=arguments))
        return (await finished(events, 1))["call_1"]


def good_call(number: int) -> ToolCall:
    return ToolCall(id=f"good_{number}", name="nap", arguments={"seconds": 0.02})


@pytest.mark.parametrize("name", ["nap", "blocking_nap"])
async def test_five_calls_of_a_fifth_of_a_second_take_about_a_fifth_of_a_second(name: str) -> None:
    async with execution() as (running, events):
        begin_s = time.monotonic()
        for number in range(5):
            running.start(ToolCall(id=f"call_{number}", name=name, arguments={"seconds": 0.2}))
        assert running.running == 5
        results = await finished(events, 5)
        took_s = time.monotonic() - begin_s
    assert 0.2 <= took_s < 0.4
    assert all(event.result.value == "slept 0.2" for event in results.values())
    assert all(0.19 <= event.end_s - event.start_s < 0.4 for event in results.values())
    assert running.running == 0


async def test_a_started_call_is_told_before_it_finishes() -> None:
    async with execution() as (running, events):
        running.start(good_call(1))
        started = events.get_nowait()
        assert isinstance(started, CallStarted)
        ended = (await finished(events, 1))["good_1"]
    assert ended.start_s == started.at_s < ended.end_s


async def test_a_sync_tool_does_not_block_the_loop() -> None:
    async with execution() as (running, events):
        running.start(ToolCall(id="call_1", name="blocking_nap", arguments={"seconds": 0.3}))
        longest_s, last_s = 0.0, time.monotonic()
        while running.running:
            await asyncio.sleep(0.005)
            now_s = time.monotonic()
            longest_s, last_s = max(longest_s, now_s - last_s), now_s
        await finished(events, 1)
    assert longest_s < 0.15


async def test_a_sync_tool_runs_in_a_thread_of_its_own() -> None:
    assert (await result_of("thread_name")).result.value == "tool thread_name"


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("raises", "tool_error", "ValueError: no such city"),
        ("raises_in_thread", "tool_error", "StopIteration"),
        ("exits", "tool_error", "SystemExit: 3"),
        ("exits_on_loop", "tool_error", "SystemExit: 3"),
        ("cancels_itself", "tool_error", "the tool cancelled itself"),
        ("own_timeout", "tool_error", "TimeoutError: the weather service did not answer"),
        ("hangs", "timeout", "no result within 0.05 s"),
        ("hangs_in_thread", "timeout", "no result within 0.05 s"),
        ("hangs_and_will_not_be_cancelled", "timeout", "no result within 0.05 s"),
        ("unserialisable", "tool_error", "the result is not JSON"),
        ("not_a_number", "tool_error", "the result is not JSON"),
        ("cyclic", "tool_error", "the result is not JSON"),
        ("nobody_knows_me", "unknown_tool", "'nobody_knows_me'"),
        ("nap", "invalid_arguments", "seconds: Missing required argument"),
    ],
)
async def test_a_call_that_fails_is_a_typed_error_and_costs_no_sibling(name: str, kind: str, says: str) -> None:
    async with execution() as (running, events):
        running.start(good_call(1))
        running.start(ToolCall(id="bad", name=name, arguments={}))
        running.start(good_call(2))
        results = await finished(events, 3)
    error = results["bad"].result.error
    assert error is not None
    assert error.kind == kind
    assert says in error.message
    assert results["good_1"].result.value == results["good_2"].result.value == "slept 0.02"


async def test_arguments_that_the_signature_does_not_know_are_refused() -> None:
    error = (await result_of("nap", seconds=0, minutes=1)).result.error
    assert error is not None
    assert error.kind == "invalid_arguments"
    assert "minutes" in error.message


@pytest.mark.parametrize("before_it_runs", [True, False])
async def test_cancelling_ends_every_running_call_with_one_cancelled_result(before_it_runs: bool) -> None:
    async with execution() as (running, events):
        for number in range(3):
            running.start(ToolCall(id=f"call_{number}", name="nap", arguments={"seconds": 60}))
        if not before_it_runs:
            await asyncio.sleep(0.02)
        running.cancel()
        results = await finished(events, 3)
    errors = [event.result.error for event in results.values()]
    assert all(error is not None and error.kind == "cancelled" for error in errors)
    assert running.running == 0


async def test_cancelling_reaches_the_tool_itself() -> None:
    own = Registry()
    seen: list[str] = []

    @own.tool()
    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    events: asyncio.Queue[ExecutionEvent] = asyncio.Queue()
    running = Executor(own).begin(events.put_nowait)
    running.start(ToolCall(id="call_1", name="waits", arguments={}))
    await asyncio.sleep(0.02)
    running.cancel()
    await finished(events, 1)
    await asyncio.sleep(0)
    assert seen == ["cancelled"]


def explode(value: int) -> int:
    raise LookupError(f"{value} is not in the table")


@registry.tool()
def looks_up(value: Annotated[int, AfterValidator(explode)]) -> int:
    return value


async def test_a_validator_of_the_tool_that_raises_is_invalid_arguments() -> None:
    error = (await result_of("looks_up", value=1)).result.error
    assert error is not None
    assert (error.kind, error.message) == ("invalid_arguments", "LookupError: 1 is not in the table")


def test_an_executor_runs_only_what_is_registered() -> None:
    executor = Executor(registry)
    assert executor.runs("nap")
    assert not executor.runs("somebody_elses")
    assert [tool.name for tool in executor.tools][:2] == ["nap", "blocking_nap"]


async def test_an_executor_of_some_tools_runs_those_only_and_shares_what_bounds_them() -> None:
    tools = Registry()
    tools.resource(Resource(name="one", capacity=1))
    running: list[int] = []
    most: list[int] = []

    @tools.tool(resource="one")
    async def alone() -> None:
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0.02)
        running.pop()

    @tools.tool()
    async def other() -> None: ...

    whole = Executor(tools)
    narrow = whole.only(tool for tool in whole.server_tools if tool.tool.name == "alone")
    assert [tool.name for tool in narrow.tools] == ["alone"]
    assert (narrow.runs("alone"), narrow.runs("other"), whole.runs("other")) == (True, False, True)
    finished: list[CallFinished] = []

    def hear(event: ExecutionEvent) -> None:
        if isinstance(event, CallFinished):
            finished.append(event)

    executions = [executor.begin(hear) for executor in (whole, narrow)]
    for number, execution in enumerate(executions):
        execution.start(ToolCall(id=f"alone {number}", name="alone", arguments={}))
        execution.start(ToolCall(id=f"other {number}", name="other", arguments={}))
        execution.close_round()
    while any(execution.running for execution in executions):
        await asyncio.sleep(0.005)
    errors = {done.call.id: done.result.error.kind for done in finished if done.result.error is not None}
    assert errors == {"other 1": "unknown_tool"}
    assert most == [1, 1]
