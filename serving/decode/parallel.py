"""Parallel decoding: plan, branch, join. The calls of a round are written at the same time, each by its own branch.

The plan is a short outline, written first. Each call that it names becomes a branch on top of the prefix the moment its
line is complete, while the plan goes on: its name, its subject and all keys that the schema forces are forced text, and
only the free values are decoded, for all calls in the same steps. A call is handed on the moment its branch ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from grammars.branch import Branch, call_branch
from grammars.plan import Plan, PlannedCall
from grammars.tools import CallError, ToolCall
from serving.decode.events import CallFailed, CallWritten, DecodeEvent
from serving.decode.ledger import Ledger
from serving.decode.planning import Planning
from serving.decode.request import Round
from serving.decode.retry import read_branch, retry_call
from serving.decode.sequential import decode_sequential, write_text
from serving.decode.streams import StreamEnded, StreamGroup

PLAN = -1
"""The key of the plan's streams; those of branches are the places of their calls."""


async def decode_parallel(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """The round as plan and branches: calls in whatever order they end, or text if the plan is empty."""
    planning = Planning(round)
    calls = Calls(round, ledger)
    async with (
        StreamGroup[int](round.engine, round.prefix, round.request.scope) as streams,
        aclosing(streams.events()) as events,
    ):
        streams.start(PLAN, planning.branches)
        async for key, event in events:
            if key == PLAN:
                planning.take(event)
                for call in calls.plan(planning.plan):
                    streams.start(call.place, [calls.branch(call, begun_at=planning.steps)])
                if planning.over:
                    ledger.plan(planning.ended)
                    for written in calls.close(complete=planning.complete):
                        yield written
            elif isinstance(event, StreamEnded):
                for written in calls.take(key, event):
                    yield written
    rest = calls.rest() if calls.planned else without_calls(round, ledger, planning.complete)
    async with aclosing(rest) as events_of_rest:
        async for last in events_of_rest:
            yield last


async def without_calls(round: Round, ledger: Ledger, complete: bool) -> AsyncGenerator[DecodeEvent, None]:
    """An answer in text, which is what an empty plan means; without a plan, the whole round in one stream."""
    if complete and not round.conversation.choice.least:
        events = write_text(await asyncio.to_thread(round.answering), ledger)
    else:
        ledger.fallbacks += 1
        events = decode_sequential(round, ledger)
    async with aclosing(events):
        async for event in events:
            yield event


class Calls:
    """The calls of a round, from planned to written."""

    def __init__(self, round: Round, ledger: Ledger) -> None:
        self.planned: dict[int, PlannedCall] = {}
        self._round = round
        self._ledger = ledger
        self._tools = {tool.name: tool for tool in round.conversation.callable_tools}
        self._begun_at: dict[int, int] = {}
        self._written: dict[int, ToolCall] = {}
        self._failed: list[int] = []
        self._equal: dict[int, ToolCall] = {}
        self._closed = False
        self._spare = 0

    def plan(self, plan: Plan) -> list[PlannedCall]:
        """The calls that are new in this plan."""
        new = [call for call in plan.calls if call.place not in self.planned]
        self.planned.update((call.place, call) for call in new)
        return new

    def branch(self, call: PlannedCall, *, begun_at: int) -> Branch:
        """The branch of a planned call, which begins after so many steps of the plan."""
        self._begun_at[call.place] = begun_at
        return call_branch(
            call,
            self._tools[call.tool],
            self._round.dialect,
            self._round.engine.tokenizer,
            max_new_tokens=self._round.limit(self._round.options.call_tokens),
            sampling=self._round.sampling(1 + call.place),
        )

    def take(self, index: int, ended: StreamEnded) -> list[CallWritten]:
        """A branch is over: its call, unless it failed, or says the same as another one."""
        name = self.planned[index].tool
        self._ledger.branch(name, ended.start_s, ended.end, begun_at=self._begun_at[index])
        outcome = read_branch(self._tools[name], self._round.dialect, ended.end)
        if isinstance(outcome, CallError):
            self._failed.append(index)
            return []
        if any(outcome.same_as(other) for other in self._written.values()):
            self._equal[index] = outcome
            return self._settle_equal() if self._closed else []
        return [self._write(index, outcome)]

    def close(self, *, complete: bool) -> list[CallWritten]:
        """The plan is over, so it is known how many calls may be left out. One that was cut short made less of them."""
        self._closed = True
        self._spare = len(self.planned) - self._round.conversation.choice.least
        if self.planned:
            self._ledger.reason = "calls" if complete else "length"
        return self._settle_equal()

    async def rest(self) -> AsyncGenerator[DecodeEvent, None]:
        """One by one, the calls that need a second chance."""
        for index in sorted(self._failed):
            name = self.planned[index].tool
            before = [self._written[place] for place in sorted(self._written)]
            outcome = await retry_call(self._round, self._tools[name], before, self._ledger)
            if isinstance(outcome, CallError):
                self._ledger.reason = "length" if outcome.kind == "truncated" else self._ledger.reason
                yield CallFailed(index=index, tool=name, error=outcome)
            else:
                yield self._write(index, outcome)

    def _settle_equal(self) -> list[CallWritten]:
        """Leave out the calls that say the same as another, as long as there are enough."""
        kept = []
        for index, call in self._equal.items():
            if self._spare > 0:
                self._spare -= 1
                self._ledger.duplicates_removed += 1
            else:
                kept.append(self._write(index, call))
        self._equal.clear()
        return kept

    def _write(self, index: int, call: ToolCall) -> CallWritten:
        self._written[index] = call
        return CallWritten(index=index, call=call)
