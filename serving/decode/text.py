"""Answers in text, up to the model's end, a stop string or the limit; as JSON where a schema asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from grammars.answer import asking_again, problems_of, read_answer_schema
from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.errors import DecodingFailed
from grammars.schema import Schema
from serving.decode.events import DecodeEvent, TextWritten
from serving.decode.findings import findings_of, write_findings
from serving.decode.ledger import Ledger
from serving.decode.request import Round
from serving.decode.streams import OpenStream, StreamEnded, check_unbroken, run_streams
from serving.decode.text_pieces import TextPieces, logprobs_of


async def write_text(round: Round, ledger: Ledger) -> AsyncGenerator[DecodeEvent, None]:
    """An answer in text, on the round's prefix. Raises `DecodingFailed` if it does not become what is asked for."""
    if findings := findings_of(round):
        events = write_findings(round, findings, ledger)
    elif round.request.answer_schema is None:
        events = write_stream(round, ledger, Constraint.text(without=[round.dialect.marker]))
    else:
        schema = await asyncio.to_thread(read_answer_schema, round.request.answer_schema)
        if schema.checked:  # what the grammar leaves open shows only once all is written
            events = write_checked(round, ledger, schema)
        else:
            events = write_stream(round, ledger, Constraint.schema(schema.grammar))
    async with aclosing(events):
        async for event in events:
            yield event


async def write_checked(round: Round, ledger: Ledger, schema: Schema) -> AsyncGenerator[TextWritten, None]:
    """An answer that is handed on when it is known to be valid; the model gets a second chance to write it."""
    constraint = Constraint.schema(schema.grammar)
    written = [event async for event in write_stream(round, ledger, constraint)]
    if problems := wrong_with(written, ledger, schema):
        ledger.fallbacks += 1
        text = "".join(event.text for event in written)
        again = await asyncio.to_thread(round.asking, asking_again(round.conversation, text, problems))
        written = [event async for event in write_stream(again, ledger, constraint)]
        if problems := wrong_with(written, ledger, schema):
            raise DecodingFailed(f"the answer does not satisfy its schema: {problems}")
    for event in written:
        yield event


def wrong_with(written: Sequence[TextWritten], ledger: Ledger, schema: Schema) -> str:
    """What is wrong with the answer; nothing is with one that was cut, by the limit or by a stop string."""
    if ledger.reason == "length" or ledger.stop is not None:
        return ""
    return problems_of("".join(event.text for event in written), schema)


async def write_stream(round: Round, ledger: Ledger, constraint: Constraint) -> AsyncGenerator[TextWritten, None]:
    """One stream of text, streamed on."""
    request = round.request
    branch = Branch(
        constraint=constraint,
        max_new_tokens=round.limit(round.options.text_tokens),
        sampling=round.sampling(ledger.fallbacks),
        skip_forced=request.logprobs is None,
        logprobs=request.logprobs,
    )
    pieces = TextPieces(request.stop)
    stream = OpenStream()
    async with aclosing(run_streams(round.engine, round.prefix, [branch], request.scope)) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                ledger.stream("text", event.start_s, event.end)
                check_unbroken(event.end)
                ledger.reason = "length" if event.end.reason == "length" else "text"
                text = ""
            else:
                ledger.hear(event)
                text = stream.take(event)
            for piece in pieces.take(text, logprobs_of(event), ended=isinstance(event, StreamEnded)):
                yield piece
            if pieces.stop is not None:
                ledger.stop = pieces.stop
                ledger.stream("text", stream.start_s, stream.left(round.engine.tokenizer))
                return
