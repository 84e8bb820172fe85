"""Turns whose tools come from an MCP server that is killed: every call has one result, and siblings keep theirs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from grammars.tools import ToolCall, ToolResult
from serving.execute.events import CallFinished, ExecutionEvent
from serving.execute.execute import Executor
from serving.execute.mcp.source import ChildProcess, McpSource
from serving.execute.offered import Selection
from serving.execute.registry import Registry
from serving.execute.toolbox import Toolbox
from tests.serving.execute.services import MCP_SERVER

LIMIT_BYTES = 100_000


def toolbox_of(*names: str, **facts: Any) -> Toolbox:
    """MCP servers of these names, of which each is a process of its own, and a function beside them."""
    registry = Registry()

    @registry.tool()
    async def local(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "local"

    command = [sys.executable, str(MCP_SERVER), "stdio"]
    sources = [
        McpSource(
            name,
            ChildProcess(command=command),
            Selection(prefix=f"{name}_", facts=facts),
            answer_limit_bytes=LIMIT_BYTES,
            connect_timeout_s=20,
        )
        for name in names
    ]
    return Toolbox(registry=registry, sources=sources)


async def results_of(toolbox: Toolbox, *calls: tuple[str, dict[str, Any]]) -> list[ToolResult]:
    """The results of one turn with these calls, in call order. Fails if a call has not just one."""
    executor = Executor(toolbox.registry)
    events: asyncio.Queue[ExecutionEvent] = asyncio.Queue()
    execution = executor.begin(events.put_nowait)
    for index, (name, arguments) in enumerate(calls):
        execution.start(ToolCall(id=f"call_{index}", name=name, arguments=arguments))
    found: dict[str, ToolResult] = {}
    while execution.running or not events.empty():
        event = await asyncio.wait_for(events.get(), 60)
        if isinstance(event, CallFinished):
            assert event.call.id not in found
            found[event.call.id] = event.result
    executor.close()
    return [found[f"call_{index}"] for index in range(len(calls))]


def kinds(results: list[ToolResult]) -> list[Any]:
    return [result.error.kind if result.error else result.value for result in results]


async def test_server_that_dies_costs_only_calls_of_its_own(tmp_path: Path) -> None:
    toolbox = toolbox_of("one", "two")
    async with toolbox.opened():
        results = await results_of(
            toolbox,
            ("one_wait", {"seconds": 20}),
            ("one_note_and_die", {"path": str(tmp_path / "runs")}),
            ("two_wait", {"seconds": 0.5}),
            ("two_letters", {"count": 1_000_000}),
            ("local", {"seconds": 0.5}),
        )
        assert kinds(results) == ["tool_error", "tool_error", "waited", "tool_error", "local"]
        assert results[0].error is not None
        assert results[0].error.message == "Connection closed; whether the call took effect is not known"
        again = await results_of(toolbox, ("one_add", {"one": 1, "other": 2}), ("two_add", {"one": 2, "other": 3}))
        assert kinds(again) == [{"result": 3}, {"result": 5}]
    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.parametrize(("idempotent", "outcome"), [(True, "waited"), (False, "tool_error")])
async def test_call_cut_by_a_kill_is_tried_again_only_if_it_is_idempotent(idempotent: bool, outcome: str) -> None:
    facts = {"idempotent": True, "retries": 1} if idempotent else {}
    toolbox = toolbox_of("one", wait=facts)
    async with toolbox.opened():
        (found,) = await results_of(toolbox, ("one_process_id", {}))
        turn = asyncio.create_task(results_of(toolbox, ("one_wait", {"seconds": 1}), ("local", {"seconds": 0.1})))
        await asyncio.sleep(0.3)
        os.kill(int(found.value), signal.SIGKILL)
        assert kinds(await turn) == [outcome, "local"]


async def test_calls_together_open_one_session_after_a_kill() -> None:
    toolbox = toolbox_of("one")
    async with toolbox.opened():
        (before,) = await results_of(toolbox, ("one_process_id", {}))
        os.kill(int(before.value), signal.SIGKILL)
        await asyncio.sleep(0.5)
        after = await results_of(toolbox, *[("one_process_id", {})] * 8)
    assert len({result.value for result in after}) == 1
    assert after[0].value != before.value
