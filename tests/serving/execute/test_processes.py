"""Processes: what computes runs beside the server, and a process that dies costs one call."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serving.execute.processes import Processes
from serving.execute.server_tool import InvalidArguments, JsonBytes, ToolFailed, ToolRefused
from tests.serving.execute import compute_tools as tools


@pytest.fixture
def processes() -> Iterator[Processes]:
    pool = Processes(2)
    yield pool
    pool.close()


async def test_a_value_comes_back_as_json_from_another_process(processes: Processes) -> None:
    answer = await processes.run(tools.process_id)
    assert isinstance(answer, JsonBytes)
    assert int(answer) != os.getpid()


async def test_a_process_is_used_again(processes: Processes) -> None:
    assert await processes.run(tools.process_id) == await processes.run(tools.process_id)


@pytest.mark.parametrize(
    ("function", "kind", "says"),
    [
        (tools.raises, ToolFailed, "LookupError: no such number"),
        (tools.raises_in_letters_of_its_own, ToolFailed, r"LookupError: \ud800"),
        (tools.is_fed_up, ToolFailed, "SystemExit: 3"),
        (tools.refuses, ToolRefused, "not on Sundays"),
        (tools.wants_other_arguments, InvalidArguments, "number: must be even"),
        (tools.dies, ToolFailed, "the process that ran it died, with exit code 7"),
        (tools.is_killed, ToolFailed, "the process that ran it died, with exit code -9"),
        (tools.cannot_be_sent, ToolFailed, "PydanticSerializationError: Unable to serialize unknown type"),
    ],
)
async def test_what_goes_wrong_in_a_process_is_said_and_the_next_call_runs(
    processes: Processes, function: Callable[[], Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind) as caught:
        await processes.run(function)
    assert str(caught.value).startswith(says)
    assert await processes.run(partial(tools.square, 3)) == b"9"


async def test_what_cannot_be_sent_is_refused(processes: Processes) -> None:
    with pytest.raises(ToolRefused, match="cannot be sent to a process"):
        await processes.run(lambda: 1)


async def test_a_process_that_dies_costs_no_sibling(processes: Processes) -> None:
    slow = asyncio.ensure_future(processes.run(partial(tools.burn, 2_000_000)))
    with pytest.raises(ToolFailed):
        await processes.run(tools.is_killed)
    assert int(await slow) >= 0


async def test_an_idle_process_that_was_killed_costs_one_call_at_most(processes: Processes) -> None:
    os.kill(int(await processes.run(tools.process_id)), 9)
    with pytest.raises(ToolFailed, match="died"):
        await processes.run(tools.process_id)
    assert await processes.run(partial(tools.square, 4)) == b"16"


async def test_a_cancelled_call_ends_its_process_at_once(processes: Processes) -> None:
    number = int(await processes.run(tools.process_id))
    call = asyncio.ensure_future(processes.run(tools.hangs))
    await asyncio.sleep(0.05)
    assert is_there(number)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not is_there(number)


async def test_a_call_cancelled_before_its_process_has_started_leaves_none_behind() -> None:
    pool = Processes(1)
    call = asyncio.ensure_future(pool.run(tools.hangs))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    deadline_s = time.monotonic() + 5
    while children() and time.monotonic() < deadline_s:
        await asyncio.sleep(0.02)
    assert children() == []


def is_there(number: int) -> bool:
    return Path(f"/proc/{number}").exists()


def children() -> list[str]:
    """The command lines of processes that this one has started."""
    found = []
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # threads and processes end while they are looked at
            for number in (task / "children").read_text().split():
                found.append(Path(f"/proc/{number}/cmdline").read_text())
    return [line for line in found if "serving.execute.worker" in line]


@pytest.mark.parametrize("text", ["hello", "\n\0\0\0", "read"])
async def test_what_a_function_prints_or_reads_does_not_get_between_the_messages(
    processes: Processes, text: str
) -> None:
    if text == "read":
        with pytest.raises(ToolFailed, match="EOFError"):
            await processes.run(partial(tools.prints, text))
    else:
        assert await processes.run(partial(tools.prints, text)) in (b'"hello"', rb'"\n\u0000\u0000\u0000"')


async def test_a_hundred_megabytes_come_through(processes: Processes) -> None:
    assert len(await processes.run(partial(tools.huge, 100_000_000))) == 100_000_002


async def test_closing_ends_the_processes() -> None:
    pool = Processes(1)
    await pool.run(tools.process_id)
    assert len(children()) == 1
    pool.close()
    assert children() == []
    assert await pool.run(partial(tools.square, 2)) == b"4"
    pool.close()


def test_there_are_as_many_as_processors_unless_somebody_says() -> None:
    assert Processes().workers == len(os.sched_getaffinity(0))
    assert Processes(3).workers == 3
