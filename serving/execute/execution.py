"""Execution: the calls of one turn while they wait and run. What may begin is decided in `schedule`, who goes first in
`desk`, and how an invocation runs in `policy`; here they are brought together with what the turn says and hears.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from grammars.errors import SchemaRefused
from grammars.schema import read_schema
from grammars.tools import CallError, ErrorKind, ToolCall, ToolResult
from serving.execute.capacity import Place
from serving.execute.desk import Desk
from serving.execute.durations import Durations
from serving.execute.events import CallFinished, CallStarted, Tell
from serving.execute.facts import Resource
from serving.execute.keys import NOTHING, footprint
from serving.execute.policy import outcomes
from serving.execute.recorder import CallRecorder
from serving.execute.references import MissingValue, references_in, substituted
from serving.execute.registry import Registry
from serving.execute.schedule import Schedule, Step
from serving.execute.server_tool import BatchRunner, ServerTool
from serving.execute.toolset import ToolSet


@dataclass(frozen=True, kw_only=True)
class ExecutionLimits:
    """How many calls may run at once over all turns, and how many bytes of JSON the result of one may have."""

    running: int = 1024
    result_bytes: int = 2**20


class Shared:
    """What the executions of all turns share."""

    def __init__(self, registry: Registry, limits: ExecutionLimits) -> None:
        self.registry = registry
        self.limits = limits
        self.durations = Durations()
        workers = registry.processes.workers
        self.desk = Desk(resource=self._resource, running=limits.running, processes=workers)

    def _resource(self, name: str) -> Resource:
        return next(resource for resource in self.registry.resources if resource.name == name)


@dataclass(frozen=True, kw_only=True)
class Options:
    references: bool
    in_call_order: bool


@dataclass(kw_only=True)
class Started:
    """A call that was started. `ready` is the call with its references replaced, once they can be."""

    call: ToolCall
    tool: ServerTool
    ready: ToolCall
    begin_s: float | None = None
    result: ToolResult | None = None
    has_ended: bool = False


class Execution:
    """The calls of one turn. Belongs to one event loop."""

    def __init__(self, shared: Shared, tools: ToolSet, tell: Tell, recorder: CallRecorder, options: Options) -> None:
        self._shared = shared
        self._tools = tools
        self._tell = tell
        self._recorder = recorder
        self._options = options
        self._schedule = Schedule()
        self._started: dict[str, Started] = {}
        self._last: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = 0

    @property
    def running(self) -> int:
        """How many calls have been started and have no result yet."""
        return self._open

    def start(self, call: ToolCall, *, after: Collection[str] = ()) -> None:
        """Run the call as soon as it may, at once if nothing stands in its way. Its `CallFinished` follows, always.

        It runs after the calls of the ids in `after` have ended, however they ended.
        """
        self._open += 1
        tool = self._tools.get(call.name)
        if call.id in self._schedule:
            words = f"there is a call with the id {call.id!r} already"
            self._tell_soon(call, failed(call, "duplicate_id", words))
            return
        if tool is None:
            self._schedule.add(Step(id=call.id))
            self._schedule.end(call.id, failed=True)
            self._tell_soon(call, failed(call, "unknown_tool", f"the server has no tool {call.name!r}"))
            return
        if self._options.in_call_order and self._last is not None:
            after = {*after, self._last}
        self._last = call.id
        self._started[call.id] = Started(call=call, tool=tool, ready=call)
        self._schedule.add(self._step(call, tool, frozenset(after)))
        self._follow()
        self._shared.desk.ask(self)

    def close_round(self) -> None:
        """No more calls come that those started so far may wait for, be it for a result or to run with them."""
        self._schedule.complete()
        self._follow()
        self._shared.desk.ask(self)

    def cancel(self) -> None:
        """Cancel what waits and what runs. These calls end with the error `cancelled`, as soon as the loop turns."""
        for call_id in self._schedule.waiting:
            self._end(self._started[call_id], cancelled(self._started[call_id].call))
        self._follow()
        for task in self._tasks:
            task.cancel()
        self._shared.desk.leave(self)

    @property
    def has_ready(self) -> bool:
        """Whether calls are ready that wait for a place only."""
        return bool(self._schedule.ready())

    def begin_next(self) -> bool:
        """Begin one invocation, if one is ready and gets its places."""
        for steps in self._schedule.ready():
            tool = self._started[steps[0].id].tool
            places = self._shared.desk.take(tool.facts)
            if places is None:
                continue
            started = [self._started[step.id] for step in steps]
            begin_s = time.monotonic()
            for one in started:
                self._schedule.begin(one.call.id)
                one.begin_s = begin_s
            task = asyncio.create_task(self._invoke(tool, started))
            self._tasks.add(task)
            task.add_done_callback(partial(self._invoked, started, places))
            for one in started:
                self._tell(CallStarted(call=one.call, at_s=begin_s))
            return True
        return False

    def _step(self, call: ToolCall, tool: ServerTool, after: frozenset[str]) -> Step:
        facts, references = tool.facts, self._options.references
        needs = {found.call_id for found in references_in(call.arguments)} if references else ()
        keyed = facts.reads or facts.writes
        return Step(
            id=call.id,
            needs=frozenset(needs),
            after=after,
            footprint=footprint(facts.reads, facts.writes, call.arguments, references=references) if keyed else NOTHING,
            duration_s=self._shared.durations.expected_s(tool),
            batch=call.name if isinstance(tool.runner, BatchRunner) else None,
        )

    def _follow(self) -> None:
        """Draw the consequences of what the schedule learned: fill in references, and end what can never run."""
        while True:
            stopped, settled = self._schedule.take_stopped(), self._schedule.take_settled()
            if not stopped and not settled:
                return
            for one in stopped:
                started = self._started[one.id]
                self._end(started, ToolResult(call_id=one.id, error=one.error))
            for call_id in settled:
                self._fill(self._started[call_id])

    def _fill(self, started: Started) -> None:
        """Put the results that the call refers to into its arguments; what is wrong with them then ends the call."""
        call, facts = started.call, started.tool.facts
        references = list(references_in(call.arguments)) if self._options.references else []
        if not references:
            return
        try:
            values = {found.call_id: self._value_of(found.call_id) for found in references}
            arguments: Mapping[str, Any] = substituted(call.arguments, values)
            problems = read_schema(started.tool.tool.parameters).problems(arguments)
        except MissingValue as error:
            self._end(started, failed(call, "unknown_reference", str(error)))
            return
        except SchemaRefused as error:
            self._end(started, failed(call, "tool_error", f"its arguments cannot be checked: {error}"))
            return
        if problems:
            words = "; ".join(f"{problem.pointer or 'arguments'}: {problem.message}" for problem in problems)
            self._end(started, failed(call, "invalid_arguments", f"with its references replaced, {words}"))
            return
        started.ready = replace(call, arguments=arguments)
        if facts.reads or facts.writes:
            self._schedule.narrow(call.id, footprint(facts.reads, facts.writes, arguments, references=False))

    def _value_of(self, call_id: str) -> Any:
        result = self._started[call_id].result
        assert result is not None, f"the call {call_id!r} has no result yet"
        return result.value

    async def _invoke(self, tool: ServerTool, started: list[Started]) -> None:
        """Run calls of one tool in one invocation, and leave their results in `started`."""
        told: list[Started] = []

        async def ask(one: Started) -> None:
            one.result = await self._recorder.intent(one.ready, tool.facts)
            if one.result is None:
                told.append(one)

        try:
            await asyncio.gather(*map(ask, started))
            told.sort(key=started.index)
            if not told:
                return
            begin_s = time.monotonic()
            arguments = [one.ready.arguments for one in told]
            found = await outcomes(tool, arguments, result_bytes=self._shared.limits.result_bytes)
            for one, outcome in zip(told, found, strict=True):
                one.result = ToolResult(call_id=one.call.id, value=outcome.value, error=outcome.error)
            if any(outcome.error is None for outcome in found):
                self._shared.durations.learn(tool, time.monotonic() - begin_s)
        finally:
            for one in told:
                self._recorder.outcome(one.ready, one.result or cancelled(one.call))

    def _invoked(self, started: list[Started], places: tuple[Place, ...], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._shared.desk.give_back(places)
        raised = None if task.cancelled() else task.exception()
        for one in started:
            result = one.result or cancelled(one.call)
            if one.result is None and raised is not None:
                result = failed(one.call, "tool_error", f"it could not be run: {raised}")
            self._end(one, result)
        self._follow()
        self._shared.desk.ask_soon(self)

    def _end(self, started: Started, result: ToolResult) -> None:
        """The call has its one result."""
        if started.has_ended:
            return
        started.has_ended = True
        started.result = result
        self._schedule.end(started.call.id, failed=result.error is not None)
        if started.begin_s is None:
            self._tell_soon(started.call, result)
        else:
            self._tell_finished(started.call, result, started.begin_s)

    def _tell_soon(self, call: ToolCall, result: ToolResult) -> None:
        """Tell of a call that never ran, once the loop turns: whoever starts a call is not yet ready for its end."""
        asyncio.get_running_loop().call_soon(self._tell_finished, call, result, time.monotonic())

    def _tell_finished(self, call: ToolCall, result: ToolResult, begin_s: float) -> None:
        self._open -= 1
        self._tell(CallFinished(call=call, result=result, start_s=begin_s, end_s=time.monotonic()))


def cancelled(call: ToolCall) -> ToolResult:
    return failed(call, "cancelled", "the turn ended before the call did")


def failed(call: ToolCall, kind: ErrorKind, message: str) -> ToolResult:
    return ToolResult(call_id=call.id, error=CallError(kind=kind, message=message))
