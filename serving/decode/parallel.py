"""Parallel decoding: plan, branch, join. The calls of a round are written at the same time, each by its own branch.

The plan, a short outline, is one stream. Each call that it names becomes a branch on top of the prefix: its name, its
subject and all keys that the schema forces are forced text, and only the free values are decoded, for all calls in the
same steps. A call is handed on the moment its branch ends.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from grammars.branch import Branch, call_branch
from grammars.plan import Plan, outline_constraint, read_outline
from grammars.tools import CallError, ToolCall
from serving.decode.events import CallFailed, CallWritten, DecodeEvent
from serving.decode.ledger import Ledger
from serving.decode.request import Round
from serving.decode.retry import read_branch, retry_call
from serving.decode.sequential import decode_sequential, write_text
from serving.decode.streams import StreamEnded, run_stream, run_streams
from serving.engines.base import BranchEnded


async def decode_parallel(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """The round as plan and branches: calls in whatever order they end, or text if the plan is empty."""
    outline = await write_outline(round, ledger)
    if outline.reason != "complete":
        ledger.fallbacks += 1
        events = decode_sequential(round, ledger)
    else:
        plan = read_outline(outline.text, least=round.conversation.choice.least)
        events = write_calls(round, plan, ledger) if plan.calls else write_text(round, ledger)
    async with aclosing(events):
        async for event in events:
            yield event


async def write_outline(round: Round, ledger: Ledger) -> BranchEnded:
    """The plan as text."""
    branch = Branch(
        constraint=outline_constraint(round.conversation),
        max_new_tokens=round.limit(round.options.plan_tokens),
        sampling=round.sampling(0),
    )
    ended = await run_stream(round.engine, round.prefix, branch)
    ledger.streams([("plan", ended.start_s, ended.end)], plan=True)
    return ended.end


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
            outcome = read_branch(tools[name], event.end)
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
            yield CallFailed(index=index, tool=name, error=outcome)
        else:
            written[index] = outcome
            yield CallWritten(index=index, call=outcome)
