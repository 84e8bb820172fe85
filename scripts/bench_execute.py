"""What running the calls of a turn takes, by each runner: seeded workloads, computing tools, batches.

A row is a workload on a runner. `ratio` is its time over the least that the workload can take.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from threading import Lock
from typing import Any

from bench_runners import RUNNERS, Runner
from bench_tools import burn
from bench_workloads import Workload, io_workloads, sound
from rich.console import Console
from rich.progress import Progress

from grammars.tools import ToolCall
from serving.execute.execute import CallFinished, ExecutionEvent, Executor
from serving.execute.facts import Resource
from serving.execute.registry import Registry

COMPUTE_CALLS = 8
COMPUTE_S = 0.25
"""About what one computing call takes."""

BATCH_CALLS = 8
BATCH_S = 0.3
"""What one invocation of the service with a batch form takes, whatever the number of calls; it bears one at a time."""


@dataclass(frozen=True, kw_only=True)
class ExecuteRow:
    """A workload on a runner: the median of its times, and what it lost or did out of order in any run.

    `results_lost` counts calls that touch no fault and yet gave no value, or a wrong one; `out_of_order` calls that
    wrote what an earlier one was still writing; `invocations` how often a tool with a batch form was invoked.

    Where the calls are decoded too, `decode_s` is when that ended and `first_call_s` when the first call began; and
    `saving_s` is what overlap saved: summed decoding and summed execution less the time that their union covers.
    """

    workload: str
    runner: str
    makespan_s: float
    bound_s: float
    ratio: float
    results_lost: int
    out_of_order: int = 0
    invocations: int | None = None
    decode_s: float | None = None
    first_call_s: float | None = None
    saving_s: float | None = None


def measure_execute(
    seed: int, repeats: int, data: Path | None, console: Console, only: Sequence[str] = ()
) -> list[ExecuteRow]:
    """Every workload on every runner, with a progress bar on `console`. `only` picks workloads by name."""
    rows: list[ExecuteRow] = []
    workloads = [found for found in io_workloads(seed, data) if not only or found.name in only]
    with Progress(console=console) as progress:
        task = progress.add_task("running calls", total=len(workloads) * len(RUNNERS))
        for workload in workloads:
            for name, runner in RUNNERS.items():
                rows.append(measured(workload, name, runner, 1 if name == "sequential" else repeats))
                progress.advance(task)
    if not only or "compute" in only:
        rows += compute_rows(repeats)
    if not only or "batch" in only:
        rows += batch_rows(repeats)
    return rows


def measured(workload: Workload, name: str, runner: Runner, repeats: int) -> ExecuteRow:
    """One row; the sequential loop, whose time is a sum, is run once."""
    makespans_s, lost, out_of_order = [], 0, 0
    for _ in range(repeats):
        played = [asyncio.run(runner(plan)) for plan in workload.plans]
        makespans_s.append(sum(one.makespan_s for one in played))
        for plan, one in zip(workload.plans, played, strict=True):
            lost = max(lost, sum(one.values.get(task_id) != value for task_id, value in sound(plan).items()))
            out_of_order = max(out_of_order, one.out_of_order(plan))
    return row(workload.name, name, makespans_s, workload.bound_s, lost=lost, out_of_order=out_of_order)


def row(
    workload: str,
    runner: str,
    makespans_s: Sequence[float],
    bound_s: float,
    *,
    lost: int = 0,
    out_of_order: int = 0,
    **rest: Any,
) -> ExecuteRow:
    makespan_s = median(makespans_s)
    return ExecuteRow(
        workload=workload,
        runner=runner,
        makespan_s=round(makespan_s, 4),
        bound_s=round(bound_s, 4),
        ratio=round(makespan_s / bound_s, 3),
        results_lost=lost,
        out_of_order=out_of_order,
        **rest,
    )


async def run_tool(
    registry: Registry, name: str, arguments: Sequence[dict[str, Any]], expected: Any
) -> tuple[float, int]:
    """How long polycall takes for calls of one tool, started together, and how many values are not as expected."""
    done, values = asyncio.Event(), list[Any]()

    def hear(event: ExecutionEvent) -> None:
        if isinstance(event, CallFinished):
            values.append(event.result.value)
            if len(values) == len(arguments):
                done.set()

    execution = Executor(registry).begin(hear)
    begin_s = time.monotonic()
    for number, given in enumerate(arguments):
        execution.start(ToolCall(id=f"c{number}", name=name, arguments=given))
    execution.close_round()
    await done.wait()
    return time.monotonic() - begin_s, sum(value != expected for value in values)


def compute_rows(repeats: int) -> list[ExecuteRow]:
    """Calls that keep a processor busy: in a loop, in threads, and in polycall's processes, one and two of them.

    The bound is what the calls take one by one, over the number of processes.
    """
    rounds = rounds_for(COMPUTE_S)
    expected = burn(rounds)
    solo_s = median(seconds_of(partial(burn, rounds)) for _ in range(3))
    rows = []
    for processes in (1, 2):
        name, bound_s = f"compute, {processes} process{'es' * (processes > 1)}", COMPUTE_CALLS * solo_s / processes
        registry = Registry(processes=processes)
        registry.tool(compute=True, timeout_s=600.0)(burn)
        calls = [{"rounds": rounds}] * COMPUTE_CALLS
        asyncio.run(run_tool(registry, "burn", [{"rounds": 1}] * processes, None))  # the processes start
        runs = [asyncio.run(run_tool(registry, "burn", calls, expected)) for _ in range(repeats)]
        registry.processes.close()
        rows.append(row(name, "polycall", [run[0] for run in runs], bound_s, lost=max(run[1] for run in runs)))

    async def in_threads() -> None:
        await asyncio.gather(*(asyncio.to_thread(burn, rounds) for _ in range(COMPUTE_CALLS)))

    def in_a_loop() -> None:
        for _ in range(COMPUTE_CALLS):
            burn(rounds)

    name, bound_s = "compute, 2 processes", COMPUTE_CALLS * solo_s / 2
    rows.append(row(name, "sequential", [seconds_of(in_a_loop)], bound_s))
    rows.append(row(name, "thread pool", [seconds_of(lambda: asyncio.run(in_threads()))], bound_s))
    return rows


def rounds_for(seconds: float) -> int:
    """How many rounds take about so long here."""
    return int(200_000 * seconds / min(seconds_of(partial(burn, 200_000)) for _ in range(3)))


def seconds_of(work: Callable[[], object]) -> float:
    begin_s = time.perf_counter()
    work()
    return time.perf_counter() - begin_s


def batch_rows(repeats: int) -> list[ExecuteRow]:
    """Like calls of a service that answers many at once in the same time, and bears one request at a time."""
    invocations = 0
    registry = Registry()
    registry.resource(Resource(name="service", capacity=1))

    async def look_up_all(calls: list[dict[str, Any]]) -> list[bool]:
        nonlocal invocations
        invocations += 1
        await asyncio.sleep(BATCH_S)
        return [True] * len(calls)

    @registry.tool(batch=look_up_all, resource="service")
    async def look_up(place: int) -> bool:
        return (await look_up_all([{"place": place}]))[0]

    arguments = [{"place": number} for number in range(BATCH_CALLS)]
    runs = [asyncio.run(run_tool(registry, "look_up", arguments, True)) for _ in range(repeats)]
    lost = max(run[1] for run in runs)
    name = f"{BATCH_CALLS} like calls"
    found = [row(name, "polycall", [run[0] for run in runs], BATCH_S, lost=lost, invocations=invocations // repeats)]

    lock = Lock()

    def one_by_one() -> None:
        with lock:
            time.sleep(BATCH_S)

    async def in_threads() -> None:
        await asyncio.gather(*(asyncio.to_thread(one_by_one) for _ in range(BATCH_CALLS)))

    times_s = [seconds_of(lambda: asyncio.run(in_threads()))]
    return [*found, row(name, "thread pool", times_s, BATCH_S, invocations=BATCH_CALLS)]
