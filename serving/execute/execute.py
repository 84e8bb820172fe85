"""Executor: runs the calls of a turn at once and together. Every started call gets exactly one result, never a raise.

The seam is narrow on purpose: a turn begins an execution, starts calls on it, hears what happens, and cancels it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic_core import to_jsonable_python

from grammars.tools import CallError, ErrorKind, Tool, ToolCall, ToolResult, json_text
from serving.execute.recorder import CallRecorder, NoRecorder
from serving.execute.registry import Registry
from serving.execute.server_tool import InvalidArguments, Runner, ServerTool, ToolRefused


@dataclass(frozen=True, kw_only=True)
class CallStarted:
    """A call began to run on the server. `at_s` is on the clock of `time.monotonic`."""

    call: ToolCall
    at_s: float


@dataclass(frozen=True, kw_only=True)
class CallFinished:
    """A call has its result, be it a value or an error. `start_s` and `end_s` are on the clock of `time.monotonic`."""

    call: ToolCall
    result: ToolResult
    start_s: float
    end_s: float


ExecutionEvent = CallStarted | CallFinished


class Executor:
    """Runs the tools of a registry. One for the whole server; safe to use for many turns at once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that are run here."""
        return self._registry.tools

    def runs(self, name: str) -> bool:
        """Whether calls of this tool are run here; others are the client's."""
        return self._registry.get(name) is not None

    def begin(self, tell: Callable[[ExecutionEvent], None], recorder: CallRecorder | None = None) -> Execution:
        """The execution of one turn. `tell` hears every event, on the event loop; it must not raise. `recorder` is
        asked before each call, and told what came of it.
        """
        return Execution(self._registry, tell, recorder or NoRecorder())


class Execution:
    """The calls of one turn. Belongs to one event loop."""

    def __init__(self, registry: Registry, tell: Callable[[ExecutionEvent], None], recorder: CallRecorder) -> None:
        self._registry = registry
        self._tell = tell
        self._recorder = recorder
        self._running: set[asyncio.Task[ToolResult]] = set()

    @property
    def running(self) -> int:
        """How many calls have been started and have no result yet."""
        return len(self._running)

    def start(self, call: ToolCall) -> None:
        """Run the call at once, beside all others. Its `CallFinished` follows, whatever happens."""
        start_s = time.monotonic()
        task = asyncio.create_task(run_recorded(self._registry.get(call.name), call, self._recorder))
        self._running.add(task)
        self._tell(CallStarted(call=call, at_s=start_s))
        task.add_done_callback(partial(self._finish, call, start_s))

    def cancel(self) -> None:
        """Cancel what runs. The cancelled calls end with the error `cancelled`, as soon as the loop turns."""
        for task in self._running:
            task.cancel()

    def _finish(self, call: ToolCall, start_s: float, task: asyncio.Task[ToolResult]) -> None:
        self._running.discard(task)
        result = failed(call, "cancelled", "the turn ended before the call did") if task.cancelled() else task.result()
        self._tell(CallFinished(call=call, result=result, start_s=start_s, end_s=time.monotonic()))


async def run_recorded(found: ServerTool | None, call: ToolCall, recorder: CallRecorder) -> ToolResult:
    """The result of one call, which the recorder lets run, or knows. Raises nothing but `CancelledError`."""
    if found is None:
        return failed(call, "unknown_tool", f"the server has no tool {call.name!r}")
    known = await recorder.intent(call, found.facts)
    if known is not None:
        return known
    result = failed(call, "cancelled", "the turn ended before the call did")
    try:
        result = await run_call(found, call)
    finally:
        recorder.outcome(call, result)
    return result


async def run_call(found: ServerTool, call: ToolCall) -> ToolResult:
    """The result of one call. Raises nothing but `CancelledError`: what a tool does wrong is data."""
    running = asyncio.ensure_future(outcome(found.runner, call.arguments))
    try:
        # `wait` leaves at the limit even if the tool refuses to be cancelled; the tool is then left behind
        done, _ = await asyncio.wait({running}, timeout=found.facts.timeout_s)
    finally:
        running.cancel()
    if not done:
        return failed(call, "timeout", f"no result within {found.facts.timeout_s:g} s")
    if running.cancelled():
        return failed(call, "tool_error", "the tool cancelled itself")
    value, raised = running.result()
    if isinstance(raised, InvalidArguments):
        return failed(call, "invalid_arguments", str(raised))
    if isinstance(raised, ToolRefused):
        return failed(call, "tool_error", str(raised))
    if raised is not None:
        return failed(call, "tool_error", described(raised))
    try:
        value = to_jsonable_python(value)
        json_text(value)  # refuses what JSON has no word for, such as NaN
    except Exception as error:  # serialisers of the tool's own may raise anything
        return failed(call, "tool_error", f"the result is not JSON: {error}")
    return ToolResult(call_id=call.id, value=value)


async def outcome(runner: Runner, arguments: Mapping[str, Any]) -> tuple[Any, BaseException | None]:
    """What the runner returned, or what it raised: as data, since a task cannot carry every exception."""
    try:
        return await runner.run(arguments), None
    except (Exception, SystemExit) as error:
        return None, error


def failed(call: ToolCall, kind: ErrorKind, message: str) -> ToolResult:
    return ToolResult(call_id=call.id, error=CallError(kind=kind, message=message))


def described(error: BaseException) -> str:
    """What the model reads of an exception: its type and its words, without a traceback."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
