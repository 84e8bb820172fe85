"""Who runs the calls of a plan: a loop, a thread pool, `asyncio.gather`, LangGraph's ToolNode, and polycall.

All but polycall know no dependencies: they run a plan in waves, as a client does that asks a model again for what needs
results; a wave is all that is ready. Each is given its most forgiving form: a call that raises does not end the others.
None of them knows a timeout, so that a plan in which nothing happens any more is given up on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from bench_workloads import TIMEOUT_S, Plan, Task
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from grammars.tools import ToolCall
from serving.execute.execute import CallFinished, ExecutionEvent, Executor
from serving.execute.registry import Registry

GIVE_UP_S = 2.0
"""After so long without any call ending, a plan is given up on: longer than any call takes."""


@dataclass
class Played:
    """What a plan came to: values by call, when each write began and ended, and how long all took."""

    values: dict[str, int] = field(default_factory=dict)
    writes: dict[str, tuple[float, float]] = field(default_factory=dict)
    makespan_s: float = 0.0
    last_s: float = field(default_factory=time.monotonic)
    is_over: bool = False

    def out_of_order(self, plan: Plan) -> int:
        """How many calls wrote to an account while an earlier call still did."""
        last_on: dict[int, str] = {}
        count = 0
        for task in plan:
            if task.account is None or task.id not in self.writes:
                continue
            earlier = last_on.get(task.account)
            count += earlier is not None and self.writes[task.id][0] < self.writes[earlier][1]
            last_on[task.account] = task.id
        return count


Runner = Callable[[Plan], Coroutine[Any, Any, Played]]


def act(task: Task, inputs: Sequence[int], played: Played) -> int:
    """The tool, for runners with threads."""
    begin_s = time.monotonic()
    time.sleep(task.seconds)
    while task.fault == "hangs" and not played.is_over:
        time.sleep(0.05)
    return acted(task, inputs, played, begin_s)


async def act_async(task: Task, inputs: Sequence[int], played: Played) -> int:
    """The tool, for runners on the event loop."""
    begin_s = time.monotonic()
    await asyncio.sleep(task.seconds)
    if task.fault == "hangs":
        await asyncio.Event().wait()
    return acted(task, inputs, played, begin_s)


def acted(task: Task, inputs: Sequence[int], played: Played, begin_s: float) -> int:
    played.last_s = time.monotonic()
    if task.fault is not None:
        raise ValueError("the service is down")
    if task.account is not None:
        played.writes[task.id] = (begin_s, played.last_s)
    return 1 + sum(inputs)


async def run_sequentially(plan: Plan) -> Played:
    """One call after another, each failure kept for itself."""
    played = Played()

    def loop() -> None:
        for task in plan:
            if not played.is_over and all(name in played.values for name in task.needs):
                with suppress(ValueError):
                    played.values[task.id] = act(task, inputs_of(task, played), played)

    return await timed(played, asyncio.to_thread(loop))


async def run_in_waves(plan: Plan, played: Played, run: Callable[[list[Task]], Awaitable[None]]) -> Played:
    """All that is ready, and again, until nothing is left that can run or the plan is given up on."""

    async def waves() -> None:
        left = list(plan)
        while wave := [task for task in left if all(name in played.values for name in task.needs)]:
            left = [task for task in left if task not in wave]
            await run(wave)

    return await timed(played, waves())


async def run_in_thread_pool(plan: Plan) -> Played:
    """A pool with a thread for each call."""
    played = Played()
    with ThreadPoolExecutor(max_workers=64) as pool:

        async def run(wave: list[Task]) -> None:
            loop = asyncio.get_running_loop()

            async def call(task: Task) -> None:
                with suppress(ValueError):
                    value = await loop.run_in_executor(pool, act, task, inputs_of(task, played), played)
                    played.values[task.id] = value

            await asyncio.gather(*map(call, wave))

        return await run_in_waves(plan, played, run)


async def run_gathered(plan: Plan) -> Played:
    """`asyncio.gather` with `return_exceptions`."""
    played = Played()

    async def run(wave: list[Task]) -> None:
        calls = [act_async(task, inputs_of(task, played), played) for task in wave]
        values = await asyncio.gather(*calls, return_exceptions=True)
        played.values |= {task.id: value for task, value in zip(wave, values, strict=True) if isinstance(value, int)}

    return await run_in_waves(plan, played, run)


async def run_in_tool_node(plan: Plan) -> Played:
    """LangGraph's ToolNode, which hands errors to the model."""
    played = Played()
    tasks = {task.id: task for task in plan}

    async def tool(task_id: str, inputs: list[int]) -> str:
        return json.dumps(await act_async(tasks[task_id], inputs, played))

    node = ToolNode(
        [StructuredTool.from_function(coroutine=tool, name="act", description="Act.")], handle_tool_errors=True
    )
    graph = StateGraph(MessagesState)
    graph.add_node("tools", node)
    graph.add_edge(START, "tools")
    compiled = graph.compile()

    async def run(wave: list[Task]) -> None:
        calls: list[Any] = [
            {"name": "act", "args": {"task_id": task.id, "inputs": inputs_of(task, played)}, "id": task.id}
            for task in wave
        ]
        answer = await compiled.ainvoke({"messages": [AIMessage(content="", tool_calls=calls)]})
        for message in answer["messages"][1:]:
            if message.status != "error":
                played.values[message.tool_call_id] = json.loads(message.content)

    return await run_in_waves(plan, played, run)


async def run_by_polycall(plan: Plan) -> Played:
    """All calls at once, with references for what they need; the scheduler does the rest."""
    played = Played()
    tasks = {task.id: task for task in plan}
    registry = Registry()

    @registry.tool(timeout_s=TIMEOUT_S)
    async def work(task: str, inputs: list[int]) -> int:
        return await act_async(tasks[task], inputs, played)

    @registry.tool(timeout_s=TIMEOUT_S, writes=["account:{account}"])
    async def write(task: str, inputs: list[int], account: int) -> int:
        assert tasks[task].account == account
        return await act_async(tasks[task], inputs, played)

    done = asyncio.Event()

    def hear(event: ExecutionEvent) -> None:
        if isinstance(event, CallFinished):
            if event.result.error is None:
                played.values[event.call.id] = event.result.value
            if not execution.running:
                done.set()

    execution = Executor(registry).begin(hear, references=True)

    async def run() -> None:
        for task in plan:
            arguments = {"task": task.id, "inputs": [f"$ref:{name}" for name in task.needs]}
            own = {} if task.account is None else {"account": task.account}
            name = "work" if task.account is None else "write"
            execution.start(ToolCall(id=task.id, name=name, arguments=arguments | own))
        execution.close_round()
        await done.wait()

    return await timed(played, run())


def inputs_of(task: Task, played: Played) -> list[int]:
    return [played.values[name] for name in task.needs]


async def timed(played: Played, work: Coroutine[Any, Any, None]) -> Played:
    """Run until all is done or nothing happens any more."""
    begin_s = played.last_s = time.monotonic()
    task = asyncio.create_task(work)
    while not task.done() and time.monotonic() - played.last_s < GIVE_UP_S:
        await asyncio.wait({task}, timeout=GIVE_UP_S - (time.monotonic() - played.last_s))
    played.makespan_s = time.monotonic() - begin_s
    played.is_over = True
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return played


RunnerName = Literal["sequential", "thread pool", "gather", "ToolNode", "polycall"]

RUNNERS: dict[RunnerName, Runner] = {
    "sequential": run_sequentially,
    "thread pool": run_in_thread_pool,
    "gather": run_gathered,
    "ToolNode": run_in_tool_node,
    "polycall": run_by_polycall,
}
