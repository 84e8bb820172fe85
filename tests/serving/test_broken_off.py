"""A turn that is broken off anywhere, any number of times, and asked for again with its key: what its calls did counts.

Here the client leaves; `test_crash` kills servers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.branch import Sampling
from grammars.conversation import Conversation, Message
from grammars.tools import ToolCall
from serving.decode.events import CallWritten, DecodeEvent, Figures, RoundEnded, TextWritten
from serving.decode.round import RoundRequest
from serving.execute.execute import CallFinished, Executor
from serving.execute.journal import Idempotency
from serving.execute.journal_memory import MemoryJournal
from serving.execute.registry import Registry
from serving.turn_book import ANSWER_EVENTS
from serving.turn_events import TurnEnded, TurnEvent
from serving.turn_request import TurnLimits, TurnRequest
from serving.turn_runner import TurnRunner

TOOLS = ("charge", "label", "look")
"""The first must not run twice, the second may, the third does nothing."""

ROUNDS = st.lists(st.lists(st.sampled_from(TOOLS), min_size=1, max_size=4), min_size=1, max_size=3)


@dataclass(frozen=True, kw_only=True)
class Break:
    """One attempt that comes to nothing: after how many events the client leaves, how long it then waits, in which
    order the calls are written, and which of them are written in other words.
    """

    after: int
    wait: int
    order: int
    departs: frozenset[int]


BREAKS = st.lists(
    st.builds(
        Break,
        after=st.integers(1, 30),
        wait=st.integers(0, 3),
        order=st.integers(0, 23),
        departs=st.frozensets(st.integers(0, 3), max_size=1),
    ),
    max_size=4,
)


@dataclass
class World:
    """What the model says, what the tools did, and one server on one journal."""

    rounds: list[list[str]]
    attempt: Break
    steps: list[int]
    happened: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.runner = TurnRunner(self, Executor(self.registry()), TurnLimits(), MemoryJournal())
        self.calls = 0

    def registry(self) -> Registry:
        registry = Registry()

        async def act(name: str, place: str) -> str:
            """Takes some turns of the loop before it does something, and some after."""
            self.calls += 1
            steps = self.steps[self.calls % len(self.steps)]
            for _ in range(steps):
                await asyncio.sleep(0)
            self.happened[name, place] += 1
            for _ in range(3 - steps):
                await asyncio.sleep(0)
            return f"{name} {place}"

        @registry.tool()
        async def charge(place: str) -> str:
            return await act("charge", place)

        @registry.tool(idempotent=True)
        async def label(place: str) -> str:
            return await act("label", place)

        @registry.tool(read_only=True)
        async def look(place: str) -> str:
            return await act("look", place)

        return registry

    async def decode_round(
        self, conversation: Conversation, request: RoundRequest
    ) -> AsyncGenerator[DecodeEvent, None]:
        number = sum(message.role == "assistant" for message in conversation.messages)
        if number >= len(self.rounds):
            yield TextWritten(text="Done.")
            yield RoundEnded(reason="text", figures=Figures(decoding="parallel"))
            return
        names = self.rounds[number]
        indices = list(range(len(names)))
        indices = indices[self.attempt.order % len(names) :] + indices[: self.attempt.order % len(names)]
        for index in indices:
            await asyncio.sleep(0)
            place = f"{number}.{index}" + ("'" if index in self.attempt.departs else "")
            yield CallWritten(
                index=index, call=ToolCall(id=f"call_{id(self.attempt)}_{number}_{index}", name=names[index],
                                           arguments={"place": place})
            )  # fmt: skip
        yield RoundEnded(reason="calls", figures=Figures(decoding="parallel"))

    async def asked(self, leaves_after: int | None) -> list[TurnEvent]:
        request = TurnRequest(
            messages=(Message(role="user", text="Go."),),
            round=RoundRequest(sampling=Sampling()),
            idempotency=Idempotency(key="k", digest="d"),
        )
        events: list[TurnEvent] = []
        async with aclosing(self.runner.run(request)) as turn:
            async for event in turn:
                events.append(event)
                if leaves_after is not None and len(events) >= leaves_after:
                    break
        return events


async def lived_through(world: World, breaks: list[Break]) -> TurnEnded:
    for attempt in breaks:
        world.attempt = attempt
        await world.asked(attempt.after)
        for _ in range(attempt.wait):
            await asyncio.sleep(0)
    world.attempt = Break(after=0, wait=0, order=0, departs=frozenset())
    events = await world.asked(None)
    ended = events[-1]
    assert isinstance(ended, TurnEnded)
    told = [event.call for event in events if isinstance(event, CallFinished)]
    assert sorted(call.id for call in told) == sorted(done.call.id for done in ended.server_calls)
    again = (await world.asked(None))[1:]
    assert again == [event for event in events if isinstance(event, ANSWER_EVENTS)], "given again"
    return ended


@settings(max_examples=300, deadline=None)
@given(ROUNDS, BREAKS, st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_a_turn_that_was_broken_off_anywhere_ends_with_one_result_a_call_and_does_nothing_twice(
    rounds: list[list[str]], breaks: list[Break], steps: list[int]
) -> None:
    alike = [Break(after=one.after, wait=one.wait, order=one.order, departs=frozenset()) for one in breaks]
    world = World(rounds, Break(after=0, wait=0, order=0, departs=frozenset()), steps)
    ended = asyncio.run(lived_through(world, alike))
    planned = [(name, f"{number}.{index}") for number, names in enumerate(rounds) for index, name in enumerate(names)]
    assert [(done.call.name, done.call.arguments["place"]) for done in ended.server_calls] == planned
    for done in ended.server_calls:
        what: tuple[str, Any] = (done.call.name, done.call.arguments["place"])
        if done.call.name == "charge":
            assert world.happened[what] <= 1
        if done.result.error is None:
            assert world.happened[what] >= 1
            assert done.result.value == f"{what[0]} {what[1]}"
        else:
            assert (done.call.name, done.result.error.kind) == ("charge", "unknown_outcome")
            assert breaks


@settings(max_examples=300, deadline=None)
@given(ROUNDS, BREAKS, st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_a_model_that_words_its_calls_otherwise_the_next_time_does_not_get_more_of_them(
    rounds: list[list[str]], breaks: list[Break], steps: list[int]
) -> None:
    world = World(rounds, Break(after=0, wait=0, order=0, departs=frozenset()), steps)
    ended = asyncio.run(lived_through(world, breaks))
    assert len(ended.server_calls) == sum(map(len, rounds))
    for number, names in enumerate(rounds):
        charges = [count for (name, place), count in world.happened.items() if name == "charge"
                   and place.startswith(f"{number}.")]  # fmt: skip
        assert sum(charges) <= names.count("charge")
