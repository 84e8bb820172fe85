"""Parallel decoding: plan, branch, join. The calls of a round are written at the same time, each by its own branch.

The plan is a short outline, written first. Each call that it names becomes a branch on top of the prefix the moment its
line is complete, while the plan goes on: its name, its subject and all keys that the schema forces are forced text, and
only the free values are decoded, for all calls in the same steps. A model that was trained for it may write each
argument of a call in a branch of its own. A call is handed on the moment its last branch ends; one that refers to the
results of others, as soon as it is known under which ids these are handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from grammars.branch import Branch, call_branch
from grammars.conversation import CALLS_LIMIT
from grammars.parse import CallOutcome, new_call_id
from grammars.plan import Plan, PlannedCall
from grammars.prompt import branch_ending
from grammars.references import calls_meant, taking_references, with_ids
from grammars.tools import CallError, Tool, ToolCall
from serving.decode.call_parts import CallPart, CallPartKey, joined, parts_of
from serving.decode.events import CallFailed, CallWritten, DecodeEvent
from serving.decode.ledger import Ledger
from serving.decode.planning import Planning
from serving.decode.request import Round
from serving.decode.retry import read_branch, retry_call
from serving.decode.sequential import decode_sequential
from serving.decode.streams import StreamEnded, StreamGroup
from serving.decode.text import write_text

PLAN: tuple[CallPartKey, ...] = ()
"""The key of the plan's streams; that of branches which begin together is what they write."""


async def decode_parallel(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """The round as plan and branches: calls in whatever order they end, or text if the plan is empty."""
    planning = Planning(round)
    calls = Calls(round, ledger)
    async with (
        StreamGroup[tuple[CallPartKey, ...]](round.engine, round.prefix, round.request.scope) as streams,
        aclosing(streams.events()) as events,
    ):
        if planning.branches:
            streams.start(PLAN, planning.branches)
        else:
            await calls.begin(planning, streams)
            calls.close(complete=True)
        async for key, event in events:
            ledger.hear(event)
            if key == PLAN:
                planning.take(event)
                if planning.is_unsure:
                    planning.plan_anew()
                    streams.start(PLAN, planning.branches)
                    continue
                await calls.begin(planning, streams)
                if planning.over:
                    ledger.plan(planning.ended, steps=planning.steps, tally_probability=planning.tally_probability)
                    for written in calls.close(complete=planning.complete):
                        yield written
            elif isinstance(event, StreamEnded):
                for written in calls.take(key[event.index], event):
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
        self._known = {tool.name: tool for tool in round.conversation.callable_tools}
        self._tools: dict[int, Tool] = {}
        self._ids: dict[int, str] = {}
        self._begun_at: dict[int, int] = {}
        self._parts: dict[int, list[CallPart]] = {}
        self._outcomes: dict[CallPartKey, CallOutcome] = {}
        self._waiting: dict[int, ToolCall] = {}
        self._written: dict[int, ToolCall] = {}
        self._failed: list[int] = []
        self._equal: dict[int, ToolCall] = {}
        self._settled: dict[int, str] = {}
        self._closed = False
        self._spare = 0

    async def begin(self, planning: Planning, streams: StreamGroup[tuple[CallPartKey, ...]]) -> None:
        """Start the branches of the calls that are new in the plan."""
        plan = planning.plan
        # Forms without a grammar for the whole plan may come to less calls than are asked for: then it is none.
        enough = not planning.complete or len(plan.calls) >= self._round.conversation.choice.least
        if enough and (new := self.plan(plan)):
            most_heads = self._round.options.argument_heads if planning.is_tally else 0
            if self._round.request.parallel_dependencies or most_heads:  # of which the schemas are new
                branches = await asyncio.to_thread(self.branches, new, most_heads)
            else:
                branches = self.branches(new, most_heads)
            self._begun_at |= dict.fromkeys((call.place for call in new), planning.steps)
            streams.start(tuple(branches), list(branches.values()))

    def plan(self, plan: Plan) -> list[PlannedCall]:
        """The calls that are new in this plan."""
        new = [call for call in plan.calls if call.place not in self.planned]
        for call in new:
            self.planned[call.place] = call
            self._tools[call.place] = self._known[call.tool]
            self._ids[call.place] = new_call_id()
        return new

    def branches(self, calls: Sequence[PlannedCall], most_heads: int) -> dict[CallPartKey, Branch]:
        """The branches that write these calls, where references are allowed with these in place of arguments.

        A schema that is new takes milliseconds, and up to a second if it is made for that.
        """
        if self._round.request.parallel_dependencies:
            for call in calls:
                earlier = [1 + place for place in self._before(call.place)]
                self._tools[call.place] = taking_references(self._tools[call.place], earlier)
        parts = parts_of(calls, self._tools, most_heads)
        for part in parts:
            self._parts.setdefault(part.call.place, []).append(part)
        return {part.key: self.branch(part) for part in parts}

    def branch(self, part: CallPart) -> Branch:
        """The branch that writes this part of a call."""
        return call_branch(
            part.call,
            part.tool,
            self._round.dialect,
            self._round.engine.tokenizer,
            max_new_tokens=self._round.limit(self._round.options.call_tokens),
            # Numbers of their own, beside those of the plan and of retries.
            sampling=self._round.sampling(1 + part.call.place + 2 * CALLS_LIMIT * part.number),
        )

    def take(self, key: CallPartKey, ended: StreamEnded) -> list[CallWritten]:
        """A branch is over. If it was the last one of its call: that, unless it failed or says the same as another, and
        those that waited for it.
        """
        index, number = key
        parts = self._parts[index]
        self._ledger.branch(parts[number].label, ended.start_s, ended.end, begun_at=self._begun_at[index])
        self._outcomes[key] = read_branch(parts[number].tool, branch_ending(self._round.dialect), ended.end)
        if not all(part.key in self._outcomes for part in parts):
            return []
        outcome = joined(self._tools[index], [self._outcomes[part.key] for part in parts])
        if isinstance(outcome, CallError):
            self._failed.append(index)
            return []
        self._waiting[index] = outcome
        return self._settle_waiting()

    def close(self, *, complete: bool) -> list[CallWritten]:
        """The plan is over, so it is known how many calls may be left out. One that was cut short made less of them."""
        self._closed = True
        self._spare = len(self.planned) - self._round.conversation.choice.least
        if self.planned:
            self._ledger.reason = "calls" if complete else "length"
        return [*self._settle_equal(), *self._settle_waiting()]

    async def rest(self) -> AsyncGenerator[DecodeEvent, None]:
        """One by one, the calls that need a second chance, each with those that waited for it."""
        for index in sorted(self._failed):
            tool = self._tools[index]
            before = [self._written[place] for place in sorted(self._written)]
            outcome = await retry_call(self._round, tool, before, self._ledger)
            if isinstance(outcome, CallError):
                self._ledger.reason = "length" if outcome.kind == "truncated" else self._ledger.reason
                self._settled[index] = self._ids[index]
                yield CallFailed(index=index, tool=tool.name, error=outcome)
            else:
                yield self._write(index, self._with_ids(index, outcome))
            for written in self._settle_waiting():
                yield written

    def _settle_waiting(self) -> list[CallWritten]:
        """Hand on, or leave out, the calls of which it is known by now under which ids those go that they refer to."""
        written = []
        while ready := [
            index for index, call in self._waiting.items() if self._meant(index, call) <= self._settled.keys()
        ]:
            for index in ready:
                written += self._settle(index, self._with_ids(index, self._waiting.pop(index)))
        return written

    def _settle(self, index: int, call: ToolCall) -> list[CallWritten]:
        if self._like(call) is None:
            return [self._write(index, call)]
        self._equal[index] = call
        return self._settle_equal() if self._closed else []

    def _settle_equal(self) -> list[CallWritten]:
        """Leave out the calls that say the same as another, as long as there are enough."""
        kept = []
        for index, call in self._equal.items():
            like = self._like(call)
            if self._spare > 0 and like is not None:
                self._spare -= 1
                self._ledger.duplicates_removed += 1
                self._settled[index] = like.id
            else:
                kept.append(self._write(index, call))
        self._equal.clear()
        return kept

    def _like(self, call: ToolCall) -> ToolCall | None:
        """The call, among those that are handed on, that says the same."""
        return next((other for other in self._written.values() if call.same_as(other)), None)

    def _write(self, index: int, call: ToolCall) -> CallWritten:
        self._written[index] = call
        self._settled[index] = call.id
        return CallWritten(index=index, call=call)

    def _before(self, index: int) -> list[int]:
        return [place for place in self.planned if place < index]

    def _meant(self, index: int, call: ToolCall) -> set[int]:
        """The places of the calls that this one refers to."""
        if not self._round.request.parallel_dependencies:
            return set()
        earlier = [1 + place for place in self._before(index)]
        return {number - 1 for number in calls_meant(call.arguments, earlier)}

    def _with_ids(self, index: int, call: ToolCall) -> ToolCall:
        """The call as it is handed on: under the id that was planned for it, and with ids in its references."""
        ids = {1 + place: self._settled[place] for place in self._meant(index, call)}
        return replace(call, id=self._ids[index], arguments=with_ids(call.arguments, ids) if ids else call.arguments)
