"""Faults, alone and together: every call gets exactly one result, and only those that a fault touches are touched.

A plan is a handful of calls, each of which may raise, hang, crash its process, give what is no JSON or far too much,
carry the id of another, or refer to others, itself and nobody. What must come of it is worked out beside the scheduler.
"""

# ruff: noqa: ARG001 - tools that fail take what good ones take
from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grammars.tools import ToolCall
from serving.execute.execute import CallFinished, CallStarted, ExecutionEvent, ExecutionLimits, Executor
from serving.execute.facts import Resource
from serving.execute.registry import Registry
from serving.execute.server_tool import ToolRefused
from tests.serving.execute import fault_tools

IDS = ("c0", "c1", "c2", "c3", "c4", "c5")

GOOD = ("give", "give_in_thread", "give_in_process", "give_batched", "give_at_second_try", "give_alone")
"""Tools that give `said(value)`."""

BAD = {
    "raises": "tool_error",
    "raises_in_thread": "tool_error",
    "exits": "tool_error",
    "refuses": "tool_error",
    "cancels_itself": "tool_error",
    "hangs": "timeout",
    "hangs_in_thread": "timeout",
    "hangs_and_will_not_be_cancelled": "timeout",
    "gives_no_json": "tool_error",
    "gives_no_text": "tool_error",
    "gives_too_much": "result_too_large",
    "breaks_its_batch": "tool_error",
    "unheard_of": "unknown_tool",
}
"""Tools that fail, and how."""

COSTLY = {"dies": "tool_error", "hangs_in_process": "timeout"}
"""Likewise, each at the price of a process."""

registry = Registry(processes=2)
registry.resource(Resource(name="one at a time", capacity=1))
tried: set[str] = set()


def said(value: Any) -> dict[str, Any]:
    """What good tools answer: their argument, and text that would be a reference if anybody read it."""
    return {"got": value, "text": "$ref:c0", "list": ["$ref:c1#/got"]}


@registry.tool()
async def give(value: Any) -> Any:
    return said(value)


@registry.tool()
def give_in_thread(value: Any) -> Any:
    return said(value)


registry.tool(name="give_in_process", compute=True)(fault_tools.give)


def give_many(calls: list[dict[str, Any]]) -> list[Any]:
    return [said(call["value"]) for call in calls]


@registry.tool(batch=give_many)
async def give_batched(value: Any) -> Any:
    return said(value)


@registry.tool(idempotent=True, retries=1)
async def give_at_second_try(value: Any) -> Any:
    mark = repr(value)
    if mark not in tried:
        tried.add(mark)
        raise ConnectionError("lost")
    return said(value)


@registry.tool(resource="one at a time", writes=["one"])
async def give_alone(value: Any) -> Any:
    await asyncio.sleep(0.001)
    return said(value)


@registry.tool()
async def raises(value: Any) -> None:
    raise ExceptionGroup("several", [ValueError("$ref:c0"), KeyError("x")])


@registry.tool()
def raises_in_thread(value: Any) -> None:
    raise StopIteration


@registry.tool()
async def exits(value: Any) -> None:
    sys.exit(3)


@registry.tool(idempotent=True, retries=3)
async def refuses(value: Any) -> None:
    raise ToolRefused("$ref:c0")


@registry.tool()
async def cancels_itself(value: Any) -> None:
    raise asyncio.CancelledError


@registry.tool(timeout_s=0.01)
async def hangs(value: Any) -> None:
    await asyncio.sleep(60)


@registry.tool(timeout_s=0.01)
def hangs_in_thread(value: Any) -> None:
    time.sleep(1.0)


@registry.tool(timeout_s=0.01)
async def hangs_and_will_not_be_cancelled(value: Any) -> None:
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue


@registry.tool()
async def gives_no_json(value: Any) -> float:
    return math.nan


@registry.tool()
async def gives_no_text(value: Any) -> str:
    return "\ud800"


@registry.tool()
async def gives_too_much(value: Any) -> list[str]:
    return ["x" * 20_000]


def break_batch(calls: list[dict[str, Any]]) -> list[Any]:
    return [ValueError("bad")] * len(calls) if len(calls) % 2 else []


@registry.tool(batch=break_batch)
async def breaks_its_batch(value: Any) -> None:
    raise ValueError("alone too")


registry.tool(name="dies", compute=True)(fault_tools.dies)
registry.tool(name="hangs_in_process", compute=True, timeout_s=0.2)(fault_tools.hangs)


@dataclass(frozen=True)
class Fault:
    """One call of a plan. `pause` lets others get on before it is started."""

    id: str
    tool: str
    value: Any
    pause: bool


@dataclass(frozen=True)
class FaultPlan:
    """Calls in the order of their start, and whether, and when, the turn is cancelled."""

    calls: tuple[Fault, ...]
    cancel_after_s: float | None


references = st.builds(
    "$ref:{}{}".format,
    st.sampled_from((*IDS, "nobody")),
    st.sampled_from(("", "", "#", "#/got", "#/text", "#/list/0", "#/list/1", "#/nothing", "#nothing")),
)
values = st.recursive(
    st.integers(0, 9) | st.text("ab$", max_size=3) | references,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=3,
)


@st.composite
def fault_plans(draw: st.DrawFn) -> FaultPlan:
    tools = st.sampled_from((*GOOD, *GOOD, *BAD))
    calls = []
    for number in range(draw(st.integers(1, len(IDS)))):
        call_id = draw(st.sampled_from(IDS)) if draw(st.integers(0, 9)) == 0 else IDS[number]
        calls.append(Fault(call_id, draw(tools), draw(values), draw(st.booleans())))
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(calls) - 1))
        calls[place] = Fault(calls[place].id, draw(st.sampled_from(sorted(COSTLY))), 0, pause=False)
    cancel_after_s = draw(st.sampled_from((None, None, None, None, 0.0, 0.005)))
    return FaultPlan(tuple(calls), cancel_after_s)


@dataclass
class Expected:
    """What may come of a call: a value, or one of these kinds of error."""

    value: Any = None
    kinds: set[str] = field(default_factory=set)


Missing = object()


def expectations(plan: FaultPlan) -> dict[int, Expected]:
    """What must come of each call, by its place in the plan, worked out from the graph alone."""
    first = {call.id: place for place, call in reversed(list(enumerate(plan.calls)))}
    found: dict[int, Expected] = {}

    def needs(place: int) -> list[str]:
        if plan.calls[place].tool == "unheard_of":  # nobody looks at its arguments
            return []
        return [text.removeprefix("$ref:").partition("#")[0] for text in texts(plan.calls[place].value)]

    def behind(place: int) -> set[int]:
        seen: set[int] = set()
        todo = [place]
        while todo:
            for name in needs(todo.pop()):
                if name in first and first[name] not in seen:
                    seen.add(first[name])
                    todo.append(first[name])
        return seen

    def expect(place: int) -> Expected:
        if place in found:
            return found[place]
        call, expected = plan.calls[place], Expected()
        found[place] = expected
        if first[call.id] != place:
            expected.kinds = {"duplicate_id"}
            return expected
        if call.tool == "unheard_of":
            expected.kinds = {"unknown_tool"}
            return expected
        if any(name not in first for name in needs(place)):
            expected.kinds |= {"unknown_reference"}
        if place in behind(place):
            expected.kinds |= {"reference_cycle", "dependency_failed"}
        else:
            expected.kinds |= {
                "dependency_failed" for name in needs(place) if name in first and expect(first[name]).kinds
            }
        if expected.kinds:
            return expected
        values = {name: expect(first[name]).value for name in needs(place)}
        value = replaced(call.value, values)
        if holds_missing(value):
            expected.kinds = {"unknown_reference"}
        elif call.tool in GOOD:
            expected.value = said(value)
        else:
            expected.kinds = {BAD[call.tool] if call.tool in BAD else COSTLY[call.tool]}
        return expected

    for place in range(len(plan.calls)):
        expect(place)
    return found


def texts(value: Any) -> Iterator[str]:
    """The references in a value."""
    if isinstance(value, str) and value.startswith("$ref:"):
        yield value
    for member in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from texts(member)


def replaced(value: Any, results: Mapping[str, Any]) -> Any:
    """The value with its references replaced, in the plainest way; `Missing` where there is nothing."""
    if isinstance(value, str) and value.startswith("$ref:"):
        name, _, pointer = value.removeprefix("$ref:").partition("#")
        result = results[name]
        ways = {
            "": lambda: result,
            "/got": lambda: result["got"],
            "/text": lambda: "$ref:c0",
            "/list/0": lambda: "$ref:c1#/got",
        }
        return ways[pointer]() if pointer in ways else Missing
    if isinstance(value, Mapping):
        return {name: replaced(member, results) for name, member in value.items()}
    return [replaced(member, results) for member in value] if isinstance(value, list) else value


def holds_missing(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(holds_missing, value.values()))
    return any(map(holds_missing, value)) if isinstance(value, list) else value is Missing


async def run_plan(executor: Executor, plan: FaultPlan) -> tuple[list[ToolCall], list[ExecutionEvent]]:
    """The plan's calls, and all that is heard until each has its result. Whoever hangs does not get through."""
    heard: list[ExecutionEvent] = []
    calls = [ToolCall(id=fault.id, name=fault.tool, arguments={"value": fault.value}) for fault in plan.calls]
    execution = executor.begin(heard.append, references=True)
    async with asyncio.timeout(30):
        for call, fault in zip(calls, plan.calls, strict=True):
            execution.start(call)
            if fault.pause:
                await asyncio.sleep(0)
        execution.close_round()
        if plan.cancel_after_s is not None:
            await asyncio.sleep(plan.cancel_after_s)
            execution.cancel()
        while execution.running:
            await asyncio.sleep(0.001)
    return calls, heard


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner
    registry.processes.close()


executor = Executor(registry, ExecutionLimits(running=4, result_bytes=10_000))
"""One for all plans: a place that a fault keeps would be missed by the next plan."""


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=fault_plans())
def test_any_faults_leave_one_result_for_every_call_and_all_that_they_do_not_touch(
    loop: asyncio.Runner, plan: FaultPlan
) -> None:
    tried.clear()
    calls, heard = loop.run(run_plan(executor, plan))
    ends = {id(event.call): event for event in heard if isinstance(event, CallFinished)}
    begins = [id(event.call) for event in heard if isinstance(event, CallStarted)]
    assert len(heard) - len(begins) == len(ends) == len(calls)
    assert len(begins) == len(set(begins))
    for place, expected in expectations(plan).items():
        result = ends[id(calls[place])].result
        assert result.call_id == calls[place].id
        found = result.value if result.error is None else result.error.kind
        allowed = [*expected.kinds] or [expected.value]
        allowed += ["cancelled"] * (plan.cancel_after_s is not None)
        assert found in allowed, (plan.calls[place], found, allowed)
    alone = [event for one, event in ends.items() if event.call.name == "give_alone" and one in begins]
    for one in alone:
        assert not any(one.start_s < other.end_s and other.start_s < one.end_s for other in alone if other is not one)
