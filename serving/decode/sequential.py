"""Sequential decoding: one stream, all calls one after another, as every other server does it.

It is the honest baseline of every benchmark, what a turn with at most one call needs anyway, and the fallback when a
plan fails.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from grammars.array import allows_text, turn_constraint
from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.errors import DecodingFailed
from grammars.parse import CallReader, read_call
from grammars.tools import CallError, ToolCall
from serving.decode.events import CallFailed, CallWritten, DecodeEvent, TextWritten
from serving.decode.ledger import Ledger
from serving.decode.request import Round
from serving.decode.retry import retry_call
from serving.decode.stop import StopFilter
from serving.decode.streams import OpenStream, StreamEnded, run_streams
from serving.engines.base import BranchEnded


async def write_text(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """An answer in text, streamed, up to the model's end, a stop string, or the limit."""
    branch = Branch(
        constraint=Constraint.text(without=[round.dialect.marker]),
        max_new_tokens=round.limit(round.options.text_tokens),
        sampling=round.sampling(0),
    )
    stop = StopFilter(round.request.stop)
    stream = OpenStream()
    async with aclosing(run_streams(round.engine, round.prefix, [branch], round.request.scope)) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                ledger.stream("text", event.start_s, event.end)
                check_unbroken(event.end)
                ledger.reason = "length" if event.end.reason == "length" else "text"
                text = stop.flush()
            else:
                text = stop.push(stream.take(event))
            if text:
                yield TextWritten(text=text)
            if stop.reached:
                ledger.stop = stop.found
                ledger.stream("text", stream.start_s, stream.left(round.engine.tokenizer))
                return


async def decode_sequential(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """The round in one stream: each call as soon as it is complete, or text."""
    choice = round.conversation.choice
    tools = {tool.name: tool for tool in round.conversation.callable_tools}
    branch = Branch(
        constraint=turn_constraint(round.conversation, round.dialect, round.engine.tokenizer),
        max_new_tokens=round.limit(round.options.stream_tokens),
        sampling=round.sampling(0),
        skip_forced=round.request.skip_forced or round.request.decoding == "parallel",
    )
    reader = CallReader(round.dialect)
    stop = StopFilter(round.request.stop)
    stream = OpenStream()
    written: list[ToolCall] = []
    failed: list[tuple[int, str]] = []
    index = 0
    async with aclosing(run_streams(round.engine, round.prefix, [branch], round.request.scope)) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                # The beginning of a call that was cut is no text where text is not allowed.
                text = stop.push(reader.text(ended=allows_text(choice))) + stop.flush()
                ledger.stream("text" if reader.is_text else "calls", event.start_s, event.end)
                if not written:
                    check_unbroken(event.end)
                ledger.reason = "length" if event.end.reason != "complete" else "calls" if index else "text"
            else:
                for call in reader.push(stream.take(event)):
                    outcome = read_call(tools[call.name], call.arguments_text)
                    if isinstance(outcome, CallError):
                        failed.append((index, call.name))
                    elif any(outcome.same_as(other) for other in written) and index >= choice.least:
                        ledger.duplicates_removed += 1
                    else:
                        written.append(outcome)
                        yield CallWritten(index=index, call=outcome)
                    index += 1
                text = stop.push(reader.text())
            if text:
                yield TextWritten(text=text)
            if stop.reached:
                ledger.reason, ledger.stop = "text", stop.found
                if not isinstance(event, StreamEnded):
                    ledger.stream("text", stream.start_s, stream.left(round.engine.tokenizer))
                return
    for place, name in failed:
        outcome = await retry_call(round, tools[name], written, ledger)
        if isinstance(outcome, CallError):
            yield CallFailed(index=place, tool=name, error=outcome)
        else:
            written.append(outcome)
            yield CallWritten(index=place, call=outcome)


def check_unbroken(end: BranchEnded) -> None:
    """Raise `DecodingFailed` for a stream whose constraint broke, so that there is no answer in it."""
    if end.reason == "failed":
        raise DecodingFailed(f"the grammar of the answer broke: {end.error}")
