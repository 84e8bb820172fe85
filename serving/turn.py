"""THE STORY of one request: decode a round, run its calls while it still decodes, read the results, go on until text.

A round is one decoding of the conversation. Calls of tools that the server has run here, each from the moment it is
written; calls of the client's own tools are handed back, and calls that want approval are asked about, either of which
ends the turn. All of it stands in the journal: a turn that broke off goes on with its next attempt, and one that was
answered is not run again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from grammars.conversation import Choice, Conversation, Message, read_choice
from grammars.errors import DecodingFailed
from grammars.tools import ToolCall
from serving.approvals import Opening
from serving.decode.events import RoundEnded
from serving.execute.execute import Executor
from serving.execute.references import references_in
from serving.hidden_rounds import HiddenRound, instructions, round_name
from serving.round_ledger import CallRules, RoundLedger, answered_calls, result_message
from serving.turn_account import RoundRecord, TurnAccount, record_of
from serving.turn_book import TurnBook
from serving.turn_events import TurnEnded, TurnEvent, TurnReason
from serving.turn_request import RoundDecoder, TurnLimits, TurnRequest


class Turn:
    """One turn while it runs.

    Whatever happens, in the decoder or in a running call, is heard at once and only then queued for the reader: a
    reader that is slow holds up neither decoding nor calls.
    """

    def __init__(
        self,
        request: TurnRequest,
        conversation: Conversation,
        opening: Opening | None,
        book: TurnBook,
        decoder: RoundDecoder,
        executor: Executor,
        limits: TurnLimits,
    ) -> None:
        self._request = request
        self._conversation = conversation
        self._opening = opening
        self._book = book
        self._decoder = decoder
        self._executor = executor
        self._execution = executor.begin(self._hear, book.recorder, references=request.round.parallel_dependencies)
        self._queue: asyncio.Queue[TurnEvent | Exception] = asyncio.Queue()
        self._deadline_s: float | None = asyncio.get_running_loop().time() + limits.wall_s
        calls = limits.calls if request.most_server_calls is None else min(limits.calls, request.most_server_calls)
        self._account = TurnAccount(rounds=limits.rounds, calls=calls, max_tokens=request.round.max_tokens)
        self._number = 1 if opening is None else 0
        self._said: tuple[Message, ...] = () if opening is None or opening.handed_back else opening.hidden.before
        self._decided: HiddenRound | None = None
        self._ledger = self._new_ledger()

    async def events(self) -> AsyncGenerator[TurnEvent, None]:
        """Round after round, until one ends the turn."""
        try:
            for record in self._book.past:
                for told in self._account.enter_past(record):
                    yield told
                self._go_on(record)
            while True:
                async with aclosing(self._round()) as events:
                    async for event in events:
                        yield event
                for given_up in self._ledger.give_up() if self._is_cut else ():
                    self._ledger.take(given_up)
                    yield given_up
                record = record_of(self._number, self._ledger)
                self._account.enter(record)
                reason = self._end_reason()
                if reason is not None:
                    yield self._ended(reason)
                    return
                self._book.round_over(record)
                self._go_on(record)
        finally:
            self._execution.cancel()

    def kept_rounds(self) -> dict[str, HiddenRound]:
        """What the next requests will need: the round at which the turn stopped, and the one that was decided in it."""
        ledger, messages = self._ledger, self._request.messages
        kept = {}
        if self._opening is not None and self._decided is not None:
            kept[self._opening.name] = self._decided
        results = tuple(result_message(finished.result) for finished in ledger.finished.values())
        if ledger.awaiting or (ledger.handed_back and (self._said or results)):
            stopped_at = ledger.handed_back or ledger.awaiting
            kept[round_name(call.id for call in stopped_at)] = HiddenRound(
                before=self._said,
                text=ledger.text,
                calls=ledger.calls,
                results=results,
                awaiting=tuple(call.id for call in ledger.awaiting),
                said=len(messages) - instructions(messages) if self._opening is None else self._opening.hidden.said,
            )
        return kept

    async def _round(self) -> AsyncGenerator[TurnEvent, None]:
        """Decode one round and run its calls; it is over when all of it is decoded and every call has its result."""
        self._book.recorder.begin_round(self._number)
        decoding = asyncio.create_task(self._decode() if self._number else self._reopen())
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
        request = replace(self._request.round, max_tokens=self._account.tokens_left)
        begin_s = time.monotonic()
        try:
            async with aclosing(self._decoder.decode_round(self._conversation, request)) as events:
                async for event in events:
                    self._hear(event)
        except Exception as error:
            self._queue.put_nowait(error)
        finally:
            self._account.decode_s += time.monotonic() - begin_s

    async def _reopen(self) -> None:
        """In place of decoding: run what is approved of a round that waited."""
        assert self._opening is not None  # round 0 is that round
        for refused in self._ledger.reopen(self._opening):
            self._hear(refused)
        self._no_more_calls()

    def _hear(self, event: TurnEvent) -> None:
        self._queue.put_nowait(event)
        for follows in self._ledger.take(event):
            self._queue.put_nowait(follows)
        if isinstance(event, RoundEnded):
            self._no_more_calls()

    def _no_more_calls(self) -> None:
        self._book.recorder.round_decoded()
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
        return self._ledger.ended is None and not self._out_of_time

    @property
    def _is_cut(self) -> bool:
        ended = self._ledger.ended
        return ended is None or self._out_of_time or ended.reason == "length"

    def _end_reason(self) -> TurnReason | None:
        """Why the turn is over, or None if it goes on."""
        ended, ledger, account = self._ledger.ended, self._ledger, self._account
        if ended is None or self._is_cut:
            return "length"
        if ledger.handed_back:
            return "calls"
        if ledger.awaiting:
            return "approval"
        if ended.reason == "text":
            return "text"
        if not ledger.calls and not account.server_calls:
            failures = "; ".join(f"{failure.tool}: {failure.error.message}" for failure in account.failures)
            raise DecodingFailed(f"no call could be written: {failures}")
        left = account.tokens_left
        return "length" if left is not None and left < 1 else None

    def _go_on(self, record: RoundRecord) -> None:
        """The next round reads the results of this one; a round of repeats leaves nothing to read."""
        after: tuple[Message, ...] = ()
        if record.number == 0 and self._opening is not None and self._opening.handed_back:
            self._decided = replace(self._opening.hidden, results=record.messages[1:], awaiting=())
            after = self._opening.after
        else:
            self._said += record.messages
        self._conversation = self._conversation.continued((*record.messages, *after), self._next_choice(record))
        self._number = record.number + 1
        self._ledger = self._new_ledger()

    def _next_choice(self, record: RoundRecord) -> Choice:
        """What was required is done; after it the model decides, until a budget is spent or it repeats itself.

        Where it is the request that bounds the server's calls, the client's own tools outlast them.
        """
        calls_left, asked = self._account.calls_left, self._request.choice or Choice()
        allowed = asked.allowed
        if calls_left < 1:
            own = {tool.name for tool in self._request.tools if self._request.most_server_calls is not None}
            allowed = frozenset(own if allowed is None else own & allowed)
        nothing_to_call = allowed == frozenset() or not self._conversation.tools
        if record.repeated or self._account.next_is_last or nothing_to_call:
            return read_choice(Choice(mode="none"), self._conversation.tools)
        most = min(asked.most, calls_left or asked.most)
        free = replace(asked, mode="auto", exact=None, allowed=allowed, least=0, most=most)
        return read_choice(free, self._conversation.tools)

    def _new_ledger(self) -> RoundLedger:
        rules = CallRules(
            runs=self._runs,
            wants_approval=self._wants_approval,
            refers=self._refers,
            start=self._execution.start,
            most=None if self._request.most_server_calls is None else self._account.calls_left,
        )
        return RoundLedger(rules, answered_calls(self._conversation.messages, self._runs))

    def _runs(self, name: str) -> bool:
        return self._executor.runs(name)

    def _wants_approval(self, name: str) -> bool:
        facts = self._executor.facts(name)
        return (facts is not None and facts.approval == "always") or self._request.required.asks_for(name)

    def _refers(self, call: ToolCall) -> bool:
        return self._request.round.parallel_dependencies and any(references_in(call.arguments))

    def _ended(self, reason: TurnReason) -> TurnEnded:
        return TurnEnded(
            turn_id=self._book.began.turn_id,
            reason=reason,
            stop=None if self._ledger.ended is None else self._ledger.ended.stop,
            figures=self._account.figures(out_of_time=self._out_of_time),
            server_calls=tuple(self._account.server_calls),
            failures=tuple(self._account.failures),
            awaiting=tuple(self._ledger.awaiting),
        )
