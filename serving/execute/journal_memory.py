"""MemoryJournal: a journal that ends with the process. For servers that keep nothing on purpose, and for tests."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from grammars.errors import AlreadyTaken, KeyReused, TurnInProgress, TurnLost
from grammars.tools import ToolResult
from serving.execute.journal import Hold, Idempotency, JournaledCall, JournaledTurn, Kept, Taken

TURNS = 1024
"""How many turns are remembered, and how many things are kept for later requests. The oldest leave first."""


@dataclass(kw_only=True)
class Page:
    """One turn while it is remembered. `token` is the holder's, if it runs."""

    turn: JournaledTurn
    digest: str | None
    token: str | None
    rounds: dict[int, str] = field(default_factory=dict)
    calls: dict[str, JournaledCall] = field(default_factory=dict)

    def read(self) -> JournaledTurn:
        rounds = tuple(record for _, record in sorted(self.rounds.items()))
        calls = tuple(sorted(self.calls.values(), key=lambda call: (call.started_s, call.id)))
        return replace(self.turn, rounds=rounds, calls=calls)


@dataclass(kw_only=True)
class Slip:
    """Something kept, and the turn that took it."""

    text: str
    taken_by: str | None = None


class MemoryJournal:
    """A `Journal` in dictionaries, bounded. A turn that runs is never forgotten."""

    def __init__(self, turns: int = TURNS) -> None:
        self._size = turns
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._by_key: dict[tuple[str, str], str] = {}
        self._slips: OrderedDict[tuple[str, str], Slip] = OrderedDict()

    async def open(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def begin(self, hold: Hold, caller: str, idempotency: Idempotency | None) -> JournaledTurn:
        key = None if idempotency is None else idempotency.key
        page = self._pages.get(self._by_key.get((caller, key), "")) if key is not None else None
        if page is None:
            turn = JournaledTurn(id=hold.turn_id, caller=caller, key=key, state="running", created_s=time.time())
            digest = None if idempotency is None else idempotency.digest
            self._pages[turn.id] = page = Page(turn=turn, digest=digest, token=hold.token)
            if key is not None:
                self._by_key[caller, key] = turn.id
            self._forget()
            return page.read()
        if idempotency is not None and page.digest != idempotency.digest:
            raise KeyReused(f"the idempotency key {key!r} was used for another request", place="Idempotency-Key")
        if page.turn.state == "running":
            raise TurnInProgress("the request with this idempotency key is being answered")
        if page.turn.state == "interrupted":
            page.turn, page.token = replace(page.turn, state="running"), hold.token
        return page.read()

    async def intent(self, hold: Hold, call: JournaledCall) -> None:
        self._held(hold).calls[call.id] = call

    def intent_later(self, hold: Hold, call: JournaledCall) -> None:
        if (page := self._page(hold)) is not None:
            page.calls[call.id] = call

    def rename(self, hold: Hold, old_id: str, new_id: str) -> None:
        page = self._page(hold)
        if page is not None and old_id in page.calls and new_id not in page.calls:
            call = page.calls.pop(old_id)
            result = None if call.result is None else replace(call.result, call_id=new_id)
            page.calls[new_id] = replace(call, id=new_id, result=result)

    def outcome(self, hold: Hold, result: ToolResult, ended_s: float) -> None:
        if (page := self._page(hold)) is not None and result.call_id in page.calls:
            page.calls[result.call_id] = replace(page.calls[result.call_id], result=result, ended_s=ended_s)

    def round_over(self, hold: Hold, number: int, record: str) -> None:
        if (page := self._page(hold)) is not None:
            page.rounds.setdefault(number, record)

    async def finish(self, hold: Hold, answer: str, kept: Sequence[Kept] = ()) -> None:
        page = self._held(hold)
        page.turn, page.token = replace(page.turn, state="finished", answer=answer), None
        for item in kept:
            self._slips[page.turn.caller, item.name] = Slip(text=item.text)
        self._forget()

    def release(self, hold: Hold) -> None:
        if (page := self._page(hold)) is not None:
            page.turn, page.token = replace(page.turn, state="interrupted"), None

    async def turn(self, turn_id: str, caller: str) -> JournaledTurn | None:
        page = self._pages.get(turn_id)
        return page.read() if page is not None and page.turn.caller == caller else None

    async def answers(self, caller: str, turn_ids: Sequence[str]) -> dict[str, str]:
        turns = [self._pages[turn_id].turn for turn_id in turn_ids if turn_id in self._pages]
        return {turn.id: turn.answer for turn in turns if turn.caller == caller and turn.answer is not None}

    async def kept(self, caller: str, names: Sequence[str]) -> dict[str, str]:
        return {name: slip.text for name in names if (slip := self._slips.get((caller, name))) is not None}

    async def forget(self, caller: str, name: str) -> bool:
        return self._slips.pop((caller, name), None) is not None

    async def take(self, hold: Hold, caller: str, name: str) -> Taken | None:
        slip = self._slips.get((caller, name))
        if slip is None:
            return None
        before = self._pages.get(slip.taken_by) if slip.taken_by not in (None, hold.turn_id) else None
        if before is not None and before.turn.state == "finished":
            raise AlreadyTaken("these approvals were brought before, by a request that is answered")
        if before is not None and before.turn.state == "running":
            raise TurnInProgress("these approvals were brought before, by a request that is being answered")
        slip.taken_by = hold.turn_id
        calls = () if before is None else tuple(call for call in before.read().calls if call.round == 0)
        return Taken(text=slip.text, calls=calls)

    def _page(self, hold: Hold) -> Page | None:
        """The page of the turn, if the hold may write to it."""
        page = self._pages.get(hold.turn_id)
        return page if page is not None and page.token == hold.token else None

    def _held(self, hold: Hold) -> Page:
        page = self._page(hold)
        if page is None:
            raise TurnLost("another request has taken this turn over")
        return page

    def _forget(self) -> None:
        while len(self._slips) > self._size:
            self._slips.popitem(last=False)
        too_many = max(0, len(self._pages) - self._size)
        idle = (turn_id for turn_id, page in self._pages.items() if page.token is None)
        for turn_id in list(islice(idle, too_many)):  # which does not look at more pages than it must
            page = self._pages.pop(turn_id)
            if page.turn.key is not None:
                self._by_key.pop((page.turn.caller, page.turn.key), None)
