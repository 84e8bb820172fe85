"""TurnRunner: from a request to the events of its turn, which is run, or given again from the journal."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace

from grammars.conversation import Choice, Conversation
from grammars.errors import Overloaded, RequestError
from grammars.tools import Tool
from serving.callers import Caller
from serving.decode.round import RoundRequest
from serving.execute.execute import Executor
from serving.execute.journal import Journal
from serving.execute.journal_memory import MemoryJournal
from serving.telemetry import Telemetry
from serving.turn import Turn
from serving.turn_book import TurnBook, begin_turn, restored
from serving.turn_events import TurnEnded, TurnEvent
from serving.turn_request import RoundDecoder, TurnLimits, TurnRequest
from serving.turn_tools import ServerOpener, TurnTools, own_tools, tools_of


class TurnRunner:
    """Runs turns. One for the whole server; belongs to one event loop, from `open` to `close`."""

    def __init__(
        self,
        decoder: RoundDecoder,
        executor: Executor,
        limits: TurnLimits,
        journal: Journal | None = None,
        opener: ServerOpener | None = None,
    ) -> None:
        self.journal: Journal = journal or MemoryJournal()
        self.telemetry = Telemetry()
        self._decoder = decoder
        self._executor = executor
        self._limits = limits
        self._opener = opener
        self._live = 0

    async def open(self) -> None:
        """Open the journal. Raises `ConfigurationError` where that cannot be."""
        await self.journal.open()

    async def close(self) -> None:
        """Close the journal, and end the processes of computing tools."""
        self._executor.close()
        if self._opener is not None:
            await self._opener.close()
        await self.journal.close()

    @property
    def live_turns(self) -> int:
        """How many turns run now."""
        return self._live

    def tools_for(self, caller: Caller) -> tuple[Tool, ...]:
        """The server's own tools that this caller may use."""
        return own_tools(self._executor, caller).tools

    async def run(self, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        """The events of the whole turn, from `TurnBegan` to `TurnEnded`. Closing it frees branches and cancels calls.

        Raises `RequestError`, `TurnInProgress` and `Overloaded` before the first event, `DecodingFailed` where nothing
        usable came, and `JournalUnavailable`.
        """
        with self.telemetry.turn(request.wire) as count:
            conversation = self._read_early(request)
            with self._place():
                book = await begin_turn(self.journal, request.caller.name, request.idempotency)
                try:
                    async with aclosing(self._attempt(book, conversation, request)) as events:
                        async for event in events:
                            count(event)
                            yield event
                finally:
                    book.close()

    async def count_tokens(self, request: TurnRequest) -> int:
        """How many tokens the turn's first round would read. Nothing is run or written down. Raises `RequestError`."""
        conversation = self.read(request)
        history = await restored(self.journal, request.caller.name, conversation.messages)
        return await self._decoder.count_tokens(replace(conversation, messages=history), request.round)

    def read(self, request: TurnRequest, tools: TurnTools | None = None) -> Conversation:
        """The request with the server's tools, or a `RequestError` that names the place at fault. `tools` are those of
        the turn, where it names servers.
        """
        tools = tools or TurnTools(executor=own_tools(self._executor, request.caller))
        own, choice = tools.executor.tools, tools.choice(request)
        names = {tool.name for tool in own}
        for index, tool in enumerate(request.tools):
            if tool.name in names:
                place = f"tools[{index}].function.name"
                raise RequestError(f"the server has a tool {tool.name!r} of its own", place=place)
        unknown = sorted((request.required.tools or frozenset()) - names)
        if unknown:
            place = "polycall.require_approval"
            raise RequestError(f"the server has no tools {', '.join(map(repr, unknown))} to approve", place=place)
        offered = () if choice is not None and choice.mode == "none" else own
        return Conversation.read(request.messages, (*request.tools, *offered), choice)

    def _read_early(self, request: TurnRequest) -> Conversation | None:
        """The request as read, or None if it names servers: then only what can be refused without them is refused."""
        if not request.servers:
            return self.read(request)
        Conversation.read(request.messages, request.tools, Choice(mode="none"))
        return None

    @asynccontextmanager
    async def _tools(self, request: TurnRequest) -> AsyncIterator[TurnTools]:
        """The tools that the turn may run, their servers connected to meanwhile."""
        own = own_tools(self._executor, request.caller)
        if not request.servers:
            yield TurnTools(executor=own)
            return
        async with tools_of(request, own, self._opener) as tools:
            yield tools

    async def _attempt(
        self, book: TurnBook, conversation: Conversation | None, request: TurnRequest
    ) -> AsyncGenerator[TurnEvent, None]:
        """Give the answer that stands in the book, or work it out, from where an earlier attempt broke off."""
        if book.answer is not None:
            for event in (book.began, *book.answer):
                yield event
            return
        if request.idempotency is not None:
            request = replace(request, round=seeded(request.round, book.began.turn_id))
        async with self._tools(request) as tools:
            conversation = conversation or self.read(request, tools)
            start = await book.continued(conversation.messages, request.decisions)
            turn = Turn(
                replace(request, messages=start.said, choice=tools.choice(request)),
                replace(conversation, messages=start.history),
                start.opening,
                book,
                self._decoder,
                tools.executor,
                self._limits,
            )
            has_begun = False
            async with aclosing(turn.events()) as events:
                async for event in events:
                    if not has_begun:
                        has_begun = True
                        yield book.began
                        if tools.listed is not None:
                            book.hear(tools.listed)
                            yield tools.listed
                    book.hear(event)
                    if isinstance(event, TurnEnded):
                        await book.finish(turn.kept_rounds(), request.to_keep)
                    yield event

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._live >= self._limits.turns:
            raise Overloaded(f"all {self._limits.turns} turns that may run at once are running")
        self._live += 1
        try:
            yield
        finally:
            self._live -= 1


def seeded(request: RoundRequest, turn_id: str) -> RoundRequest:
    """The round with a seed of the turn's own: its next attempt, should this one break off, draws the same way."""
    if request.sampling.seed is not None:
        return request
    seed = int.from_bytes(hashlib.sha256(turn_id.encode()).digest()[:7])
    return replace(request, sampling=replace(request.sampling, seed=seed))
