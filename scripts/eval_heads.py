"""Argument heads decoded: plan as ever, then a stream for every argument of every call, all at once.

Nothing serves calls so; it is for models that were trained on such heads, to be compared with a stream a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from finetune.argument_heads import heads, merged, planned_head
from grammars.branch import Branch, call_branch
from grammars.conversation import Conversation
from grammars.parse import CallOutcome, check_call
from grammars.plan import Plan, PlannedCall
from grammars.prompt import branch_ending
from grammars.tools import CallError, Tool, ToolCall
from serving.decode.events import CallFailed, CallWritten, DecodeEvent, RoundEnded, TextWritten
from serving.decode.ledger import Ledger
from serving.decode.planning import Planning
from serving.decode.request import Round, RoundRequest
from serving.decode.retry import read_branch
from serving.decode.round import Decoder
from serving.decode.streams import StreamEnded, run_streams


class HeadDecoder(Decoder):
    """Writes calls head by head. A call of which a head fails is a failed call; there is no second chance."""

    async def decode_round(
        self, conversation: Conversation, request: RoundRequest
    ) -> AsyncGenerator[DecodeEvent, None]:
        """The calls in the order of the plan, after the last of them, repeats left out; an empty plan is an answer in
        text.
        """
        round = await asyncio.to_thread(self._prepare, conversation, request)
        ledger = Ledger("parallel", prompt_tokens=len(round.prefix))
        tools = {tool.name: tool for tool in conversation.callable_tools}
        plan = await planned(round, ledger) if tools else Plan()
        spare = len(plan.calls) - conversation.choice.least
        earlier: list[ToolCall] = []
        for index, outcome in enumerate(await arguments_written(round, ledger, plan.calls, tools)):
            if isinstance(outcome, CallError):
                yield CallFailed(index=index, tool=plan.calls[index].tool, error=outcome)
            elif ledger.duplicates_removed < spare and any(map(outcome.same_as, earlier)):
                ledger.duplicates_removed += 1
            else:
                earlier.append(outcome)
                yield CallWritten(index=index, call=outcome)
        if not plan.calls and ledger.reason == "text":
            yield TextWritten(text="")
        yield RoundEnded(reason=ledger.reason, stop=None, figures=ledger.figures())


async def planned(round: Round, ledger: Ledger) -> Plan:
    """The plan; a tally that is unsure gives way to an outline."""
    planning = Planning(round)
    while planning.branches:  # none where the caller fixes all counts
        async with aclosing(run_streams(round.engine, round.prefix, planning.branches)) as events:
            async for event in events:
                ledger.hear(event)
                planning.take(event)
        if not planning.is_unsure:
            break
        planning.plan_anew()
    ledger.plan(planning.ended, steps=planning.steps, tally_probability=planning.tally_probability)
    if not planning.complete:
        ledger.reason = "length"
    elif planning.plan.calls:
        ledger.reason = "calls"
    return planning.plan


async def arguments_written(
    round: Round, ledger: Ledger, calls: Sequence[PlannedCall], tools: dict[str, Tool]
) -> list[CallOutcome]:
    """Every planned call, its heads put together, in their order. All heads begin when the plan is over."""
    begun_at = ledger.figures().plan_steps
    made = [(place, head) for place, call in enumerate(calls) for head in heads(tools[call.tool])]
    branches = [head_branch(round, planned_head(calls[place], head), head) for place, head in made]
    outcomes: dict[int, CallOutcome] = {}
    if branches:
        async with aclosing(run_streams(round.engine, round.prefix, branches)) as events:
            async for event in events:
                if isinstance(event, StreamEnded):
                    head = made[event.index][1]
                    ledger.branch(head.name, event.start_s, event.end, begun_at=begun_at)
                    outcomes[event.index] = read_branch(head, branch_ending(round.dialect), event.end)
    found: list[CallOutcome] = []
    for place, call in enumerate(calls):
        parts = [outcomes[index] for index, (its, _) in enumerate(made) if its == place]
        found.append(put_together(tools[call.tool], parts))
    return found


def put_together(tool: Tool, parts: Sequence[CallOutcome]) -> CallOutcome:
    """The call, or the first fault of one of its heads, or what is wrong with the whole."""
    arguments = []
    for one in parts:
        if isinstance(one, CallError):
            return one
        arguments.append(one.arguments)
    return check_call(tool, merged(arguments))


def head_branch(round: Round, planned: PlannedCall, head: Tool) -> Branch:
    return call_branch(
        planned,
        head,
        round.dialect,
        round.engine.tokenizer,
        max_new_tokens=round.limit(round.options.call_tokens),
        sampling=round.sampling(1),
    )
