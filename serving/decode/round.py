"""Decoder: one round of a turn, from conversation to calls or text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from grammars import array, references
from grammars.answer import asking_for, read_answer_schema
from grammars.conversation import Conversation
from grammars.dialects import Dialect
from grammars.errors import ConfigurationError, SchemaRefused
from grammars.prompt import render, render_for_answer
from grammars.schema import read_schema
from serving.decode.events import DecodeEvent, RoundEnded
from serving.decode.ledger import Ledger
from serving.decode.parallel import decode_parallel
from serving.decode.planning import plan_forms
from serving.decode.request import DecodeOptions, Round, RoundRequest
from serving.decode.sequential import decode_sequential
from serving.decode.text import write_text
from serving.engines.base import Engine

__all__ = ["DecodeOptions", "Decoder", "RoundRequest"]


class Decoder:
    """Decodes rounds on one engine in one dialect. Safe to use concurrently.

    Raises `ConfigurationError` for options that are not for models of this dialect.
    """

    def __init__(self, engine: Engine, dialect: Dialect, options: DecodeOptions | None = None) -> None:
        self.engine = engine
        self.dialect = dialect
        self.options = options or DecodeOptions()
        if self.options.argument_heads and dialect.marks is None:
            raise ConfigurationError(
                f"argument_heads: for models that were trained for it, and not in the dialect {dialect.name!r}"
            )

    async def decode_round(
        self, conversation: Conversation, request: RoundRequest
    ) -> AsyncGenerator[DecodeEvent, None]:
        """What the model answers: calls as they are complete, or text as it comes; `RoundEnded` is the last event.

        Raises `SchemaRefused`, `ContextExceeded` and other `RequestError`s before the first event. Closing the
        generator frees the engine's branches.
        """
        prepared = await asyncio.to_thread(self._prepare, conversation, request)
        ledger = Ledger(request.decoding, prompt_tokens=len(prepared.prefix))
        if not conversation.callable_tools:
            events = write_text(prepared, ledger)
        elif one_stream(conversation, request, self.dialect):
            events = decode_sequential(prepared, ledger)
        else:
            events = decode_parallel(prepared, ledger)
        async with aclosing(events):
            async for event in events:
                yield event
        yield RoundEnded(reason=ledger.reason, stop=ledger.stop, figures=ledger.figures())

    async def count_tokens(self, conversation: Conversation, request: RoundRequest) -> int:
        """How many tokens the round would read before it writes any. Raises what `decode_round` does before it."""
        return len((await asyncio.to_thread(self._prepare, conversation, request)).prefix)

    def _prepare(self, conversation: Conversation, request: RoundRequest) -> Round:
        """Check every schema and render the prefix: work of milliseconds, off the event loop."""
        for index, tool in enumerate(conversation.tools):
            try:
                read_schema(tool.parameters)
            except SchemaRefused as refused:
                raise refused.at(f"tools[{index}].function.parameters") from None
        asked = conversation
        if request.answer_schema is not None:
            schema = read_answer_schema(request.answer_schema)
            asked = conversation if conversation.callable_tools else asking_for(conversation, schema)
        instructions = ""
        if one_stream(conversation, request, self.dialect):
            instructions = array.instructions(self.dialect)
        elif conversation.callable_tools:
            form, *_ = plan_forms(self.options, self.dialect, conversation)
            instructions = form.instructions(conversation)
            if request.parallel_dependencies:
                instructions += f"\n\n{references.INSTRUCTIONS}"
        tokenizer = self.engine.tokenizer
        if conversation.callable_tools:
            prefix = render(asked, self.dialect, tokenizer, instructions=instructions)
        else:
            prefix = render_for_answer(asked, self.dialect, tokenizer)
        return Round(
            engine=self.engine,
            dialect=self.dialect,
            options=self.options,
            request=request,
            conversation=conversation,
            prefix=prefix,
        )


def one_stream(conversation: Conversation, request: RoundRequest, dialect: Dialect) -> bool:
    """Whether a plan would be of no use: the caller wants one stream, or allows one call only, and a plan costs more
    than the step that a tally takes.
    """
    if not conversation.callable_tools:
        return False
    return request.decoding == "sequential" or (conversation.choice.most == 1 and dialect.marks is None)
