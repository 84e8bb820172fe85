"""Parallel decoding: plan, branch, join. The calls of a round are written at the same time, each by its own branch.

The plan is a short outline, written first. Each call that it names becomes a branch on top of the prefix: its name, its
subject and all keys that the schema forces are forced text, and only the free values are decoded, for all calls in the
same steps. A call is handed on the moment its branch ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from grammars.branch import Branch, call_branch
from grammars.plan import Plan
from grammars.tools import CallError, ToolCall
from serving.decode.events import CallFailed, CallWritten, DecodeEvent
from serving.decode.ledger import Ledger
from serving.decode.request import Round
from serving.decode.retry import read_branch, retry_call
from serving.decode.sequential import decode_sequential, write_text
from serving.decode.streams import StreamEnded, run_streams


async def decode_parallel(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """The round as plan and branches: calls in whatever order they end, or text if the plan is empty."""
    plan = await write_plan(round, ledger)
    if plan is None or len(plan.calls) < round.conversation.choice.least:
        ledger.fallbacks += 1
        events = decode_sequential(round, ledger)
    elif plan.calls:
        events = write_calls(round, plan, ledger)
    else:
        events = write_text(await asyncio.to_thread(round.answering), ledger)
    async with aclosing(events):
        async for event in events:
            yield event


async def write_plan(round: Round, ledger: Ledger) -> Plan | None:
    """The plan, from the streams of the plan's form; None if one of them did not come to its end."""
    form = round.options.plan_form
    branches = [
        Branch(
            suffix=round.engine.tokenizer.encode(stream.opening),
            constraint=stream.constraint,
            max_new_tokens=round.limit(round.options.plan_tokens),
            sampling=round.sampling(0),
        )
        for stream in form.streams(round.conversation)
    ]
    ended: dict[int, StreamEnded] = {}
    async with aclosing(run_streams(round.engine, round.prefix, branches)) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                ended[event.index] = event
    streams = [ended[index] for index in range(len(branches))]
    ledger.streams([("plan", stream.start_s, stream.end) for stream in streams], plan=True)
    if any(stream.end.reason != "complete" for stream in streams):
        return None
    return form.read([stream.end.text for stream in streams], round.conversation)


def call_branches(round: Round, plan: Plan) -> list[Branch]:
    """One branch for each planned call."""
    tools = {tool.name: tool for tool in round.conversation.callable_tools}
    return [
        call_branch(
            call,
            tools[call.tool],
            round.dialect,
            round.engine.tokenizer,
            max_new_tokens=round.limit(round.options.call_tokens),
            sampling=round.sampling(1 + index),
        )
        for index, call in enumerate(plan.calls)
    ]


async def write_calls(round: Round, plan: Plan, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """The planned calls, each as soon as its branch ends; then, one by one, those that need a second chance."""
    ledger.reason = "calls"
    tools = {tool.name: tool for tool in round.conversation.callable_tools}
    spare = len(plan.calls) - round.conversation.choice.least
    written: dict[int, ToolCall] = {}
    failed: list[int] = []
    ended = []
    async with aclosing(run_streams(round.engine, round.prefix, call_branches(round, plan))) as events:
        async for event in events:
            if not isinstance(event, StreamEnded):
                continue
            name = plan.calls[event.index].tool
            ended.append((name, event.start_s, event.end))
            outcome = read_branch(tools[name], round.dialect, event.end)
            if isinstance(outcome, CallError):
                failed.append(event.index)
            elif spare > 0 and any(outcome.same_as(other) for other in written.values()):
                spare -= 1
                ledger.duplicates_removed += 1
            else:
                written[event.index] = outcome
                yield CallWritten(index=event.index, call=outcome)
    ledger.streams(ended)
    for index in sorted(failed):
        name = plan.calls[index].tool
        outcome = await retry_call(round, tools[name], [written[place] for place in sorted(written)], ledger)
        if isinstance(outcome, CallError):
            ledger.reason = "length" if outcome.kind == "truncated" else ledger.reason
            yield CallFailed(index=index, tool=name, error=outcome)
        else:
            written[index] = outcome
            yield CallWritten(index=index, call=outcome)
