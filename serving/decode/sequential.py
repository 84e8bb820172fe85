"""Sequential decoding: one stream, all calls one after another, as every other server does it.

It is the honest baseline of every benchmark, what a turn with at most one call needs anyway, and the fallback when a
plan fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from grammars.array import allows_text, turn_constraint
from grammars.branch import Branch
from grammars.parse import CallReader, read_call
from grammars.tools import CallError, ToolCall
from serving.decode.events import CallFailed, CallWritten, DecodeEvent
from serving.decode.ledger import Ledger
from serving.decode.request import Round
from serving.decode.retry import retry_call
from serving.decode.streams import OpenStream, StreamEnded, check_unbroken, run_streams
from serving.decode.text import write_text
from serving.decode.text_pieces import TextPieces, logprobs_of


async def decode_sequential(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """The round in one stream: each call as soon as it is complete, or text.

    An answer that a schema governs is a stream of its own, on a prompt of its own, and so is every answer of a model
    that was trained for that. This one only shows whether the model calls or answers, in a grammar that knows nothing
    of the schema.
    """
    choice = round.conversation.choice
    tools = {tool.name: tool for tool in round.conversation.callable_tools}
    is_trained = round.dialect.marks is not None
    answers_apart = allows_text(choice) and (is_trained or round.request.answer_schema is not None)
    logprobs = round.request.logprobs if allows_text(choice) and not answers_apart else None
    branch = Branch(
        constraint=turn_constraint(round.conversation, round.dialect, round.engine.tokenizer),
        max_new_tokens=round.limit(round.options.stream_tokens),
        sampling=round.sampling(0),
        skip_forced=logprobs is None and (round.request.skip_forced or round.request.decoding == "parallel"),
        logprobs=logprobs,
    )
    reader = CallReader(round.dialect)
    pieces = TextPieces(round.request.stop)
    stream = OpenStream()
    written: list[ToolCall] = []
    failed: list[tuple[int, str]] = []
    index = 0
    async with aclosing(run_streams(round.engine, round.prefix, [branch], round.request.scope)) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                # The beginning of a call that was cut is no text where text is not allowed.
                text = reader.text(ended=allows_text(choice))
                ledger.stream(label(reader, answers_apart), event.start_s, event.end)
                if not written:
                    check_unbroken(event.end)
                ledger.reason = "length" if event.end.reason != "complete" else "calls" if index else "text"
            else:
                ledger.hear(event)
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
                text = reader.text()
            ended = isinstance(event, StreamEnded)
            answers = answers_apart and bool(reader.is_text)
            if not answers:
                for piece in pieces.take(text, logprobs_of(event), ended=ended):
                    yield piece
            if pieces.stop is not None:
                ledger.reason, ledger.stop = "text", pieces.stop
            if not ended and (answers or pieces.stop is not None):
                ledger.stream(label(reader, answers_apart), stream.start_s, stream.left(round.engine.tokenizer))
                break
    if answers_apart and reader.is_text:
        async with aclosing(write_text(await asyncio.to_thread(round.answering), ledger)) as answer:
            async for piece_of_answer in answer:
                yield piece_of_answer
    for place, name in failed:
        outcome = await retry_call(round, tools[name], written, ledger)
        if isinstance(outcome, CallError):
            yield CallFailed(index=place, tool=name, error=outcome)
        else:
            written.append(outcome)
            yield CallWritten(index=place, call=outcome)


def label(reader: CallReader, answers_apart: bool) -> str:
    """What a stream wrote, by what was read of it."""
    if not reader.is_text:
        return "calls"
    return "decision" if answers_apart else "text"
