"""Execution: the calls of a turn run together as far as they may: references, conflicts, places, batches, processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from grammars.tools import ToolCall, ToolResult
from serving.execute.execute import CallFinished, CallStarted, ExecutionEvent, ExecutionLimits, Executor
from serving.execute.execution import Execution
from serving.execute.facts import Resource, ToolFacts
from serving.execute.registry import Registry
from tests.serving.execute import compute_tools

NAP_S = 0.05


@dataclass
class Turn:
    """One execution, what it was told, and what its tools were asked."""

    execution: Execution
    events: asyncio.Queue[ExecutionEvent]
    heard: list[ExecutionEvent] = field(default_factory=list)

    def start(self, call_id: str, name: str, after: tuple[str, ...] = (), **arguments: Any) -> None:
        self.execution.start(ToolCall(id=call_id, name=name, arguments=arguments), after=after)

    async def results(self) -> dict[str, Any]:
        """The value or the kind of error of every call, once all have one."""
        found: dict[str, Any] = {}
        while self.execution.running or not self.events.empty():
            event = await asyncio.wait_for(self.events.get(), 10)
            self.heard.append(event)
            if isinstance(event, CallFinished):
                assert event.call.id not in found, "a call must have exactly one result"
                found[event.call.id] = event.result.error.kind if event.result.error else event.result.value
        return found

    def begins(self) -> list[str]:
        return [event.call.id for event in self.heard if isinstance(event, CallStarted)]

    def message(self, call_id: str) -> str:
        (found,) = [event for event in self.heard if isinstance(event, CallFinished) and event.call.id == call_id]
        assert found.result.error is not None
        return found.result.error.message

    def overlap(self, one: str, other: str) -> bool:
        spans = {event.call.id: event for event in self.heard if isinstance(event, CallFinished)}
        return spans[one].start_s < spans[other].end_s and spans[other].start_s < spans[one].end_s


class World:
    """A registry of tools that say what they were asked."""

    def __init__(self) -> None:
        self.registry = Registry(processes=2)
        self.asked: list[Any] = []
        self.batches: list[int] = []
        self.most = self.now = 0
        registry = self.registry
        registry.resource(Resource(name="api", capacity=2))
        registry.resource(Resource(name="narrow api", capacity=1))
        registry.resource(Resource(name="slow api", rate_per_s=20.0))

        @registry.tool()
        async def give(value: Any) -> Any:
            self.asked.append(value)
            return value

        @registry.tool()
        async def add(one: int, other: int) -> int:
            return one + other

        @registry.tool()
        async def nap(seconds: float = NAP_S) -> str:
            await asyncio.sleep(seconds)
            return "rested"

        @registry.tool()
        async def fails() -> None:
            raise ValueError("no")

        @registry.tool(writes=["account:{account}"])
        async def pay(account: Any) -> str:
            await asyncio.sleep(NAP_S)
            return f"paid {account}"

        @registry.tool(reads=["account:{account}"], read_only=True)
        async def balance(account: Any) -> str:
            await asyncio.sleep(NAP_S)
            return f"balance of {account}"

        @registry.tool(resource="api")
        async def ask() -> int:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            return self.most

        @registry.tool(resource="narrow api")
        async def ask_alone() -> None:
            await asyncio.sleep(0.01)

        @registry.tool(resource="slow api")
        async def ask_slowly() -> float:
            return time.monotonic()

        async def many(calls: list[dict[str, Any]]) -> list[Any]:
            self.batches.append(len(calls))
            return [f"{call['city']}: sunny" for call in calls]

        @registry.tool(batch=many)
        async def weather(city: str) -> str:
            self.batches.append(1)
            return f"{city}: sunny"

        registry.tool(compute=True)(compute_tools.process_id)
        registry.tool(compute=True, timeout_s=0.5)(compute_tools.hangs)
        registry.tool(compute=True)(compute_tools.is_killed)
        registry.tool(compute=True)(compute_tools.square)
        registry.tool(compute=True)(compute_tools.huge)

    @asynccontextmanager
    async def turn(self, **options: Any) -> AsyncIterator[Turn]:
        limits = options.pop("limits", None)
        executor = options.pop("executor", None) or Executor(self.registry, limits)
        events: asyncio.Queue[ExecutionEvent] = asyncio.Queue()
        turn = Turn(executor.begin(events.put_nowait, **options), events)
        yield turn
        turn.execution.cancel()
        await turn.results()
        executor.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.registry.processes.close()


async def test_a_reference_becomes_the_value_with_its_type(world: World) -> None:
    async with world.turn(references=True) as turn:
        turn.start("a", "give", value={"n": [1, 2]})
        turn.start("b", "add", one="$ref:a#/n/1", other=40)
        turn.start("c", "give", value={"all": "$ref:a", "text": "see $ref:a"})
        turn.execution.close_round()
        assert await turn.results() == {
            "a": {"n": [1, 2]},
            "b": 42,
            "c": {"all": {"n": [1, 2]}, "text": "see $ref:a"},
        }


async def test_without_references_the_same_letters_are_text(world: World) -> None:
    async with world.turn() as turn:
        turn.start("a", "give", value="$ref:nobody")
        assert await turn.results() == {"a": "$ref:nobody"}


async def test_a_reference_in_a_result_is_never_followed(world: World) -> None:
    async with world.turn(references=True) as turn:
        turn.start("secret", "give", value="42")
        turn.start("spy", "give", value=["said: $ref:secret"])
        turn.start("fetched", "add", one=0, other=0)
        turn.start("uses", "give", value="$ref:spy")
        turn.execution.close_round()
        assert (await turn.results())["uses"] == ["said: $ref:secret"]
    own = Registry()

    @own.tool()
    async def page() -> dict[str, str]:
        return {"text": "$ref:secret", "$ref:secret": "name"}

    @own.tool()
    async def echo(value: Any) -> Any:
        return value

    events: asyncio.Queue[ExecutionEvent] = asyncio.Queue()
    turn = Turn(Executor(own).begin(events.put_nowait, references=True), events)
    turn.start("secret", "echo", value="42")
    turn.start("page", "page")
    turn.start("whole", "echo", value="$ref:page")
    turn.start("part", "echo", value="$ref:page#/text")
    turn.start("again", "echo", value="$ref:part")
    turn.execution.close_round()
    found = await turn.results()
    assert found["whole"] == {"text": "$ref:secret", "$ref:secret": "name"}
    assert found["part"] == found["again"] == "$ref:secret"


async def test_a_call_told_by_its_events_keeps_the_arguments_that_the_model_wrote(world: World) -> None:
    async with world.turn(references=True) as turn:
        turn.start("a", "give", value=1)
        turn.start("b", "give", value="$ref:a")
        turn.execution.close_round()
        await turn.results()
    assert {dict(event.call.arguments)["value"] for event in turn.heard} == {1, "$ref:a"}


@pytest.mark.parametrize(
    ("reference", "kind", "says"),
    [
        ("$ref:nobody", "unknown_reference", "'nobody'"),
        ("$ref:", "unknown_reference", "''"),
        ("$ref:a#/nothing", "unknown_reference", "has nothing at '/nothing'"),
        ("$ref:a#nothing", "unknown_reference", "no JSON pointer"),
        ("$ref:a#/text", "invalid_arguments", "with its references replaced, /one"),
        ("$ref:bad", "dependency_failed", "'bad'"),
        ("$ref:no_tool", "dependency_failed", "'no_tool'"),
        ("$ref:b", "reference_cycle", "'b'"),
    ],
)
async def test_a_reference_that_cannot_be_followed_is_a_typed_error_and_costs_no_sibling(
    world: World, reference: str, kind: str, says: str
) -> None:
    async with world.turn(references=True) as turn:
        turn.start("a", "give", value={"text": "one"})
        turn.start("bad", "fails")
        turn.start("no_tool", "nobody_knows_me")
        turn.start("b", "add", one=reference, other=1)
        turn.start("sibling", "nap")
        turn.execution.close_round()
        found = await turn.results()
    assert found["b"] == kind
    assert says in turn.message("b")
    assert (found["a"], found["sibling"]) == ({"text": "one"}, "rested")


async def test_a_circle_ends_all_of_its_calls_and_none_of_them_runs(world: World) -> None:
    async with world.turn(references=True) as turn:
        turn.start("a", "give", value="$ref:b")
        turn.start("b", "give", value=["$ref:c"])
        turn.start("c", "give", value="$ref:a")
        turn.start("d", "give", value="$ref:a")
        turn.start("e", "give", value=1)
        assert await turn.results() == {
            "a": "reference_cycle",
            "b": "reference_cycle",
            "c": "reference_cycle",
            "d": "dependency_failed",
            "e": 1,
        }
    assert world.asked == [1]


async def test_a_dependent_call_starts_when_its_need_ends_and_not_when_the_round_does(world: World) -> None:
    async with world.turn(references=True) as turn:
        turn.start("a", "nap")
        turn.start("b", "give", value="$ref:a")
        assert (await turn.results())["b"] == "rested"


async def test_a_later_round_may_refer_to_an_earlier_one(world: World) -> None:
    async with world.turn(references=True) as turn:
        turn.start("a", "give", value=20)
        turn.execution.close_round()
        await turn.results()
        turn.start("b", "add", one="$ref:a", other=1)
        turn.execution.close_round()
        assert await turn.results() == {"b": 21}


async def test_a_second_call_with_the_same_id_is_refused_and_the_first_keeps_its_result(world: World) -> None:
    async with world.turn(references=True) as turn:
        turn.start("a", "give", value=1)
        turn.start("a", "give", value=2)
        turn.start("b", "give", value="$ref:a")
        ends = []
        while turn.execution.running:
            event = await asyncio.wait_for(turn.events.get(), 5)
            if isinstance(event, CallFinished):
                ends.append((event.call.id, event.result.error.kind if event.result.error else event.result.value))
    assert sorted(ends, key=str) == [("a", "duplicate_id"), ("a", 1), ("b", 1)]
    assert world.asked == [1, 1]


async def test_calls_that_write_the_same_run_in_call_order_and_others_beside_them(world: World) -> None:
    async with world.turn() as turn:
        turn.start("pay_1", "pay", account=1)
        turn.start("read_1", "balance", account="1")
        turn.start("read_too", "balance", account=1)
        turn.start("pay_2", "pay", account=2)
        turn.start("pay_1_again", "pay", account=1)
        await turn.results()
    assert not turn.overlap("pay_1", "read_1")
    assert turn.overlap("pay_1", "pay_2")
    assert turn.overlap("read_1", "read_too")
    assert not turn.overlap("read_too", "pay_1_again")
    assert [name for name in turn.begins() if name != "pay_2"] == ["pay_1", "read_1", "read_too", "pay_1_again"]


async def test_a_key_that_comes_from_a_result_is_kept_from_others_until_it_is_known(world: World) -> None:
    async with world.turn(references=True) as turn:
        turn.start("which", "nap")
        turn.start("pay", "pay", account="$ref:which")
        turn.start("other", "balance", account=3)
        turn.start("same", "balance", account="rested")
        turn.execution.close_round()
        await turn.results()
    assert not turn.overlap("which", "other")
    assert turn.overlap("pay", "other")
    assert not turn.overlap("pay", "same")


async def test_order_that_is_asked_for_is_kept_even_behind_a_failure(world: World) -> None:
    async with world.turn() as turn:
        turn.start("a", "nap")
        turn.start("b", "fails", after=("a",))
        turn.start("c", "give", after=("b",), value=1)
        turn.start("d", "give", value=2)
        assert await turn.results() == {"a": "rested", "b": "tool_error", "c": 1, "d": 2}
    assert turn.begins() == ["a", "d", "b", "c"]


async def test_in_call_order_each_call_waits_for_the_one_before(world: World) -> None:
    async with world.turn(in_call_order=True) as turn:
        for number in range(4):
            turn.start(f"c{number}", "nap", seconds=0.01)
        await turn.results()
    assert not any(turn.overlap(f"c{number}", f"c{number + 1}") for number in range(3))


async def test_a_resource_is_never_used_by_more_than_it_bears_over_all_turns(world: World) -> None:
    executor = Executor(world.registry)
    async with world.turn(executor=executor) as one, world.turn(executor=executor) as other:
        for number in range(6):
            one.start(f"c{number}", "ask")
            other.start(f"c{number}", "ask")
        found = await asyncio.gather(one.results(), other.results())
    assert max(max(results.values()) for results in found) == world.most == 2


async def test_turns_take_turns_at_a_resource(world: World) -> None:
    executor = Executor(world.registry)
    async with world.turn(executor=executor) as many, world.turn(executor=executor) as few:
        for number in range(20):
            many.start(f"c{number}", "ask_alone")
        few.start("only", "ask_alone")
        await few.results()
        assert many.execution.running > 10


async def test_a_full_resource_holds_up_only_those_that_use_it(world: World) -> None:
    async with world.turn() as turn:
        for number in range(4):
            turn.start(f"c{number}", "ask")
        turn.start("free", "give", value=1)
        await turn.results()
    assert turn.begins().index("free") <= 2


async def test_a_rate_spaces_the_begins(world: World) -> None:
    async with world.turn() as turn:
        for number in range(25):
            turn.start(f"c{number}", "ask_slowly")
        times_s = sorted((await turn.results()).values())
    assert times_s[19] - times_s[0] < 0.5
    assert times_s[20] - times_s[0] >= 0.99


async def test_no_more_calls_run_at_once_than_the_server_allows(world: World) -> None:
    async with world.turn(limits=ExecutionLimits(running=3)) as turn:
        for number in range(9):
            turn.start(f"c{number}", "nap", seconds=0.02)
        await turn.results()
        spans = [(event.start_s, event.end_s) for event in turn.heard if isinstance(event, CallFinished)]
    assert max(sum(start_s <= at_s < end_s for start_s, end_s in spans) for at_s, _ in spans) == 3


async def test_the_longest_way_begins_first_where_places_are_few(world: World) -> None:
    async with world.turn(references=True, limits=ExecutionLimits(running=1)) as turn:
        turn.start("first", "nap")
        turn.start("leaf", "give", value=1)
        turn.start("root", "give", value=1)
        turn.start("behind", "give", value="$ref:root")
        turn.execution.close_round()
        await turn.results()
    assert turn.begins() == ["first", "root", "leaf", "behind"]


async def test_eight_like_calls_of_a_batch_tool_are_one_invocation(world: World) -> None:
    async with world.turn() as turn:
        for number in range(8):
            turn.start(f"c{number}", "weather", city=f"city {number}")
        turn.start("other", "give", value=1)
        await asyncio.sleep(0.01)
        assert world.batches == []
        turn.execution.close_round()
        found = await turn.results()
    assert world.batches == [8]
    assert found == {**{f"c{number}": f"city {number}: sunny" for number in range(8)}, "other": 1}


async def test_calls_of_a_batch_that_become_ready_together_run_together(world: World) -> None:
    async with world.turn(references=True) as turn:
        turn.start("root", "give", value=["Bern", "Oslo", "Rome"])
        for number in range(3):
            turn.start(f"c{number}", "weather", city=f"$ref:root#/{number}")
        turn.execution.close_round()
        assert (await turn.results())["c2"] == "Rome: sunny"
    assert world.batches == [3]


async def test_a_call_of_a_batch_with_wrong_arguments_costs_no_sibling(world: World) -> None:
    async with world.turn() as turn:
        turn.start("good", "weather", city="Bern")
        turn.start("bad", "weather", town="Bern")
        turn.start("fine", "weather", city="Oslo")
        turn.execution.close_round()
        found = await turn.results()
    assert found == {"good": "Bern: sunny", "bad": "invalid_arguments", "fine": "Oslo: sunny"}
    assert world.batches == [2]


async def test_what_computes_runs_in_processes_as_many_as_there_are(world: World) -> None:
    async with world.turn() as turn:
        for number in range(6):
            turn.start(f"c{number}", "process_id")
        numbers = set((await turn.results()).values())
    assert 1 <= len(numbers) <= 2


async def test_a_process_that_dies_or_hangs_costs_its_call_only(world: World) -> None:
    async with world.turn() as turn:
        for number in range(4):
            turn.start(f"good_{number}", "square", number=number)
            turn.start(f"bad_{number}", "hangs" if number % 2 else "is_killed")
        found = await turn.results()
    assert [found[f"good_{number}"] for number in range(4)] == [0, 1, 4, 9]
    assert [found[f"bad_{number}"] for number in range(4)] == ["tool_error", "timeout", "tool_error", "timeout"]


async def test_a_result_of_a_hundred_megabytes_is_refused_by_its_size(world: World) -> None:
    async with world.turn() as turn:
        turn.start("huge", "huge", size=100_000_000)
        turn.start("fine", "huge", size=1000)
        found = await turn.results()
    assert found == {"huge": "result_too_large", "fine": "x" * 1000}
    assert "100000002 bytes or more, and 1048576 are allowed" in turn.message("huge")


async def test_cancelling_ends_what_waits_and_what_runs(world: World) -> None:
    async with world.turn(references=True, limits=ExecutionLimits(running=2)) as turn:
        turn.start("runs", "nap", seconds=60)
        turn.start("computes", "hangs")
        turn.start("waits_for_a_place", "give", value=1)
        turn.start("needs", "give", value="$ref:runs")
        turn.start("needs_more", "give", value="$ref:needs")
        turn.start("batched", "weather", city="Bern")
        await asyncio.sleep(0.02)
        turn.execution.cancel()
        found = await turn.results()
    assert set(found.values()) == {"cancelled"}
    assert len(found) == 6
    assert world.asked == []


async def test_places_of_cancelled_calls_are_given_back(world: World) -> None:
    executor = Executor(world.registry, ExecutionLimits(running=1))
    async with world.turn(executor=executor) as turn:
        turn.start("a", "nap", seconds=60)
        turn.execution.cancel()
        await turn.results()
        turn.start("b", "give", value=1)
        assert await turn.results() == {"b": 1}


@dataclass
class Recorder:
    """Knows some results beforehand, and keeps what it is asked and told."""

    known: dict[str, ToolResult] = field(default_factory=dict)
    pause_s: float = 0.0
    intents: list[ToolCall] = field(default_factory=list)
    outcomes: list[tuple[str, Any]] = field(default_factory=list)

    async def intent(self, call: ToolCall, facts: ToolFacts) -> ToolResult | None:
        assert isinstance(facts, ToolFacts)
        await asyncio.sleep(self.pause_s)
        self.intents.append(call)
        return self.known.get(call.id)

    def outcome(self, call: ToolCall, result: ToolResult) -> None:
        self.outcomes.append((call.id, result.error.kind if result.error else result.value))


async def test_a_recorder_is_asked_with_final_arguments_and_told_the_result_once(world: World) -> None:
    recorder = Recorder(known={"b": ToolResult(call_id="b", value=7)})
    async with world.turn(references=True, recorder=recorder) as turn:
        turn.start("a", "give", value=1)
        turn.start("b", "give", value="$ref:a")
        turn.start("c", "give", value="$ref:b")
        turn.start("d", "fails")
        turn.execution.close_round()
        assert await turn.results() == {"a": 1, "b": 7, "c": 7, "d": "tool_error"}
    assert {call.id: call.arguments.get("value") for call in recorder.intents} == {"a": 1, "b": 1, "c": 7, "d": None}
    assert sorted(recorder.outcomes) == [("a", 1), ("c", 7), ("d", "tool_error")]
    assert world.asked == [1, 7]


@pytest.mark.parametrize(("pause_s", "recorded"), [(60.0, []), (0.0, [("a", "cancelled")])])
async def test_a_recorder_hears_of_a_cancelled_call_if_it_let_it_go(
    world: World, pause_s: float, recorded: list[Any]
) -> None:
    recorder = Recorder(pause_s=pause_s)
    async with world.turn(recorder=recorder) as turn:
        turn.start("a", "nap", seconds=60)
        await asyncio.sleep(0.02)
        turn.execution.cancel()
        assert await turn.results() == {"a": "cancelled"}
    assert recorder.outcomes == recorded


async def test_many_calls_cost_the_event_loop_little(world: World) -> None:
    async with world.turn(limits=ExecutionLimits(running=2000)) as turn:
        begin_s = time.monotonic()
        for number in range(512):
            turn.start(f"c{number}", "nap", seconds=0.2)
        turn.execution.close_round()
        await turn.results()
        assert time.monotonic() - begin_s < 2.0
