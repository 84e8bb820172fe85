"""THE STORY of one request: decode a round, run its calls while it still decodes, read the results, go on until text.

A round is one decoding of the conversation. Calls of tools that the server has run here, each from the moment it is
written; calls of the client's own tools are handed back, which ends the turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from grammars.conversation import Choice, Conversation, Message, read_choice
from grammars.errors import DecodingFailed, Overloaded, RequestError
from grammars.tools import Tool
from serving.decode.events import CallFailed, DecodeEvent, Figures, FinishReason, RoundEnded
from serving.decode.round import RoundRequest
from serving.execute.execute import CallFinished, Executor
from serving.hidden_rounds import HiddenRound, HiddenRounds
from serving.round_ledger import RoundLedger, answered_calls, result_message
from serving.turn_events import TurnEnded, TurnEvent, TurnFigures


class RoundDecoder(Protocol):
    """What a turn needs of the decoder."""

    def decode_round(self, conversation: Conversation, request: RoundRequest) -> AsyncGenerator[DecodeEvent, None]:
        """One round, as events that end with `RoundEnded`. Closing the generator frees the branches."""
        ...


@dataclass(frozen=True, kw_only=True)
class TurnLimits:
    """What one turn may use, how many turns may run at once, and how many hidden rounds are kept.

    The last of `rounds` is decoded without tools, so that the turn ends in text; so is the round after `calls` are
    spent. When `wall_s` is over, the turn ends with what it has, as `length`.
    """

    rounds: int = 8
    calls: int = 128
    wall_s: float = 600.0
    turns: int = 64
    hidden_rounds: int = 1024


@dataclass(frozen=True, kw_only=True)
class TurnRequest:
    """One request, whatever wire it came by. `tools` are the client's own; the server adds its tools to them."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    choice: Choice | None = None
    round: RoundRequest


class TurnRunner:
    """Runs turns. One for the whole server; belongs to one event loop."""

    def __init__(self, decoder: RoundDecoder, executor: Executor, limits: TurnLimits) -> None:
        self._decoder = decoder
        self._executor = executor
        self._limits = limits
        self._hidden = HiddenRounds(limits.hidden_rounds)
        self._live = 0

    @property
    def live_turns(self) -> int:
        """How many turns run now."""
        return self._live

    @property
    def has_tools(self) -> bool:
        """Whether the server has tools of its own to offer."""
        return bool(self._executor.tools)

    async def run(self, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        """The events of the whole turn, the last of them `TurnEnded`. Closing it frees branches and cancels calls.

        Raises `RequestError` and `Overloaded` before the first event, `DecodingFailed` where nothing usable came.
        """
        conversation = self.read(request)
        with self._place():
            turn = Turn(request, conversation, self._decoder, self._executor, self._limits)
            async with aclosing(turn.events()) as events:
                async for event in events:
                    if isinstance(event, TurnEnded):
                        self._keep_hidden(turn)
                    yield event

    def read(self, request: TurnRequest) -> Conversation:
        """The request with the server's tools and hidden rounds, or a `RequestError` that names the place at fault."""
        for index, tool in enumerate(request.tools):
            if self._executor.runs(tool.name):
                place = f"tools[{index}].function.name"
                raise RequestError(f"the server has a tool {tool.name!r} of its own", place=place)
        offered = () if request.choice is not None and request.choice.mode == "none" else self._executor.tools
        conversation = Conversation.read(request.messages, (*request.tools, *offered), request.choice)
        return replace(conversation, messages=self._hidden.restore(conversation.messages))

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._live >= self._limits.turns:
            raise Overloaded(f"all {self._limits.turns} turns that may run at once are running")
        self._live += 1
        try:
            yield
        finally:
            self._live -= 1

    def _keep_hidden(self, turn: Turn) -> None:
        last = turn.ledger
        results = tuple(result_message(finished.result) for finished in last.finished.values())
        if last.handed_back and (turn.said or results):
            self._hidden.keep(HiddenRound(before=turn.said, calls=last.calls, results=results), last.handed_back)


class Turn:
    """One turn while it runs. `said` is what its finished rounds added to the conversation; `ledger` the round at hand.

    Whatever happens, in the decoder or in a running call, is heard at once and only then queued for the reader: a
    reader that is slow holds up neither decoding nor calls.
    """

    def __init__(
        self,
        request: TurnRequest,
        conversation: Conversation,
        decoder: RoundDecoder,
        executor: Executor,
        limits: TurnLimits,
    ) -> None:
        self._request = request
        self._conversation = conversation
        self._decoder = decoder
        self._executor = executor
        self._limits = limits
        self._execution = executor.begin(self._hear)
        self._queue: asyncio.Queue[TurnEvent | Exception] = asyncio.Queue()
        self._start_s = time.monotonic()
        self._deadline_s: float | None = asyncio.get_running_loop().time() + limits.wall_s
        self._rounds: list[Figures] = []
        self._repeats = 0
        self._decode_s = 0.0
        self._wait_s = 0.0
        self._server_calls: list[CallFinished] = []
        self._failures: list[CallFailed] = []
        self.said: tuple[Message, ...] = ()
        self.ledger = self._new_ledger()

    async def events(self) -> AsyncGenerator[TurnEvent, None]:
        """Round after round, until one ends the turn."""
        try:
            while True:
                async with aclosing(self._round()) as events:
                    async for event in events:
                        yield event
                self._close_books()
                reason = self._end_reason()
                if reason is not None:
                    yield self._ended(reason)
                    return
                self._go_on()
        finally:
            self._execution.cancel()

    async def _round(self) -> AsyncGenerator[TurnEvent, None]:
        """Decode one round and run its calls; it is over when all of it is decoded and every call has its result."""
        decoding = asyncio.create_task(self._decode())
        try:
            while self._still_decodes or self._execution.running or not self._queue.empty():
                event = await self._next_event()
                if event is not None:
                    yield event
                else:
                    self._deadline_s = None
                    decoding.cancel()
                    self._execution.cancel()
        finally:
            decoding.cancel()
            await asyncio.wait({decoding})

    async def _decode(self) -> None:
        request = replace(self._request.round, max_tokens=self._tokens_left)
        begin_s = time.monotonic()
        try:
            async with aclosing(self._decoder.decode_round(self._conversation, request)) as events:
                async for event in events:
                    self._hear(event)
        except Exception as error:
            self._queue.put_nowait(error)
        finally:
            self._decode_s += time.monotonic() - begin_s

    def _hear(self, event: TurnEvent) -> None:
        self._queue.put_nowait(event)
        for handed_back in self.ledger.take(event):
            self._queue.put_nowait(handed_back)
        if isinstance(event, RoundEnded):
            self._execution.close_round()

    async def _next_event(self) -> TurnEvent | None:
        """The next event, or None when the wall time is over."""
        try:
            async with asyncio.timeout_at(self._deadline_s):
                event = await self._queue.get()
        except TimeoutError:
            return None
        if isinstance(event, Exception):
            raise event
        return event

    @property
    def _out_of_time(self) -> bool:
        return self._deadline_s is None

    @property
    def _still_decodes(self) -> bool:
        return self.ledger.ended is None and not self._out_of_time

    @property
    def _tokens_left(self) -> int | None:
        """What is left of the client's limit on written tokens, which holds for the turn as a whole."""
        limit = self._request.round.max_tokens
        return None if limit is None else limit - sum(figures.completion_tokens for figures in self._rounds)

    def _close_books(self) -> None:
        ledger = self.ledger
        if ledger.ended is not None:
            self._rounds.append(ledger.ended.figures)
        self._repeats += ledger.repeated
        self._wait_s += ledger.wait_s
        self._server_calls += [ledger.finished[call.id] for call in ledger.calls if call.id in ledger.finished]
        self._failures += ledger.failures

    def _end_reason(self) -> FinishReason | None:
        """Why the turn is over, or None if it goes on."""
        ended = self.ledger.ended
        if ended is None or self._out_of_time or ended.reason == "length":
            return "length"
        if self.ledger.handed_back:
            return "calls"
        if ended.reason == "text":
            return "text"
        if not self.ledger.calls and not self._server_calls:
            failures = "; ".join(f"{failure.tool}: {failure.error.message}" for failure in self._failures)
            raise DecodingFailed(f"no call could be written: {failures}")
        left = self._tokens_left
        return "length" if left is not None and left < 1 else None

    def _go_on(self) -> None:
        """The next round reads the results of this one; a round of repeats leaves nothing to read."""
        messages = () if self.ledger.repeated else self.ledger.messages()
        self.said += messages
        self._conversation = self._conversation.continued(messages, self._next_choice())
        self.ledger = self._new_ledger()

    def _next_choice(self) -> Choice:
        """What was required is done; after it the model decides, until a budget is spent or it repeats itself."""
        calls_left = self._limits.calls - len(self._server_calls)
        if self.ledger.repeated or calls_left < 1 or len(self._rounds) + 1 >= self._limits.rounds:
            return read_choice(Choice(mode="none"), self._conversation.tools)
        asked = self._request.choice or Choice()
        free = replace(asked, mode="auto", exact=None, least=0, most=min(asked.most, calls_left))
        return read_choice(free, self._conversation.tools)

    def _new_ledger(self) -> RoundLedger:
        answered = answered_calls(self._conversation.messages, self._executor.runs)
        return RoundLedger(runs=self._executor.runs, start=self._execution.start, answered=answered)

    def _ended(self, reason: FinishReason) -> TurnEnded:
        figures = TurnFigures(
            rounds=tuple(self._rounds),
            repeats=self._repeats,
            out_of_time=self._out_of_time,
            start_s=self._start_s,
            total_s=time.monotonic() - self._start_s,
            decode_s=self._decode_s,
            wait_s=self._wait_s,
        )
        calls, failures = tuple(self._server_calls), tuple(self._failures)
        return TurnEnded(reason=reason, figures=figures, server_calls=calls, failures=failures)
