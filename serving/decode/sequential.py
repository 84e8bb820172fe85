"""Sequential decoding: one stream, all calls one after another, as every other server does it.

It is the honest baseline of every benchmark, what a turn with at most one call needs anyway, and the fallback when a
plan fails.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from grammars.array import turn_constraint
from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.parse import CallReader, check_call
from grammars.tools import CallError, ToolCall
from serving.decode.events import CallFailed, CallWritten, DecodeEvent, TextWritten
from serving.decode.ledger import Ledger
from serving.decode.request import Round
from serving.decode.retry import retry_call
from serving.decode.stop import StopFilter
from serving.decode.streams import StreamEnded, run_streams


async def write_text(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """An answer in text, streamed, up to the model's end, a stop string, or the limit."""
    branch = Branch(
        constraint=Constraint.text(without=[round.dialect.marker]),
        max_new_tokens=round.limit(round.options.text_tokens),
        sampling=round.sampling(0),
    )
    stop = StopFilter(round.request.stop)
    async with aclosing(run_streams(round.engine, round.prefix, [branch])) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                ledger.streams([("text", event.start_s, event.end)])
                ledger.reason = "length" if event.end.reason == "length" else "text"
                text = stop.flush()
            else:
                text = stop.push(event.text)
            if text:
                yield TextWritten(text=text)
            if stop.reached:
                return


async def decode_sequential(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """The round in one stream: each call as soon as it is complete, or text."""
    tools = {tool.name: tool for tool in round.conversation.callable_tools}
    branch = Branch(
        constraint=turn_constraint(round.conversation, round.dialect, round.engine.tokenizer),
        max_new_tokens=round.limit(round.options.stream_tokens),
        sampling=round.sampling(0),
        skip_forced=round.request.skip_forced or round.request.decoding == "parallel",
    )
    reader = CallReader(round.dialect)
    stop = StopFilter(round.request.stop)
    written: list[ToolCall] = []
    failed: list[tuple[int, str, CallError]] = []
    index = 0
    async with aclosing(run_streams(round.engine, round.prefix, [branch])) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                ledger.streams([("calls" if index else "text", event.start_s, event.end)])
                ledger.reason = "length" if event.end.reason != "complete" else "calls" if index else "text"
                text = stop.push(reader.text(ended=True)) + stop.flush()
            else:
                for call in reader.push(event.text):
                    outcome = check_call(tools[call.name], call.arguments)
                    if isinstance(outcome, CallError):
                        failed.append((index, call.name, outcome))
                    elif any(outcome.same_as(other) for other in written) and index >= round.conversation.choice.least:
                        ledger.duplicates_removed += 1
                    else:
                        written.append(outcome)
                        yield CallWritten(index=index, call=outcome)
                    index += 1
                text = stop.push(reader.text())
            if text:
                yield TextWritten(text=text)
            if stop.reached:
                return
    for place, name, _ in failed:
        outcome = await retry_call(round, tools[name], written, ledger)
        if isinstance(outcome, CallError):
            yield CallFailed(index=place, tool=name, error=outcome)
        else:
            written.append(outcome)
            yield CallWritten(index=place, call=outcome)
