"""TurnRecorder: writes the calls of one turn into the journal, and answers from it what ran before the turn broke off.

A turn that goes on decodes its open round again. A call that is the same as one begun before, tool and arguments
alike, takes that one's place: its result is the one written down; without one it runs again if it may, and is otherwise
`unknown_outcome`, however often the model asks for it again in this turn. Decoding need not come out alike: while a
call begun before has found no match, no other call of the same tool that must not run twice may start, for it may be
the same one in other words.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from grammars.errors import PolycallError
from grammars.tools import CallError, ErrorKind, ToolCall, ToolResult, json_text, same_json
from serving.execute.facts import ToolFacts
from serving.execute.journal import Hold, Journal, JournaledCall


class TurnRecorder:
    """The `CallRecorder` of a turn. `before` are its calls that were begun when it broke off."""

    def __init__(self, journal: Journal, hold: Hold, before: Sequence[JournaledCall] = ()) -> None:
        self._journal = journal
        self._hold = hold
        self._before: list[JournaledCall] = []
        self._unknown: list[JournaledCall] = []
        self._round = 0
        self._decoded = asyncio.Event()
        for call in before:
            self.add(call)

    def add(self, call: JournaledCall) -> None:
        """One more call that was begun before."""
        self._before.append(call)
        if is_unknown(call.result):
            self._unknown.append(call)

    def begin_round(self, number: int) -> None:
        """Calls are of this round from now on."""
        self._round = number
        self._decoded.clear()

    def round_decoded(self) -> None:
        """No more calls of this round will be written."""
        self._decoded.set()

    async def intent(self, call: ToolCall, facts: ToolFacts) -> ToolResult | None:
        earlier = self._match(call)
        if earlier is None and any(same(unknown, call) for unknown in self._unknown):
            return unknown_outcome(call)
        try:
            if earlier is not None:
                return await self._again(call, facts, earlier)
            if not facts.repeatable:
                doubtful = await self._doubtful(call)
                if doubtful is not None:
                    return doubtful
            await self._write(call, facts)
        except PolycallError as error:
            return failed(call, "tool_error", f"not run, since it could not be written down: {error}")
        return None

    def outcome(self, call: ToolCall, result: ToolResult) -> None:
        self._journal.outcome(self._hold, result, time.time())

    def _match(self, call: ToolCall) -> JournaledCall | None:
        for earlier in self._before:
            if earlier.round == self._round and same(earlier, call):
                self._before.remove(earlier)
                return earlier
        return None

    async def _again(self, call: ToolCall, facts: ToolFacts, earlier: JournaledCall) -> ToolResult | None:
        """The call was begun before: what is known of it, or None if it may run again."""
        if earlier.id != call.id:
            self._journal.rename(self._hold, earlier.id, call.id)
        if earlier.known and earlier.result is not None:
            return ToolResult(call_id=call.id, value=earlier.result.value, error=earlier.result.error)
        if facts.repeatable and earlier.repeatable:
            await self._write(call, facts)
            return None
        result = unknown_outcome(call)
        self._unknown.append(earlier)
        self._journal.outcome(self._hold, result, time.time())
        return result

    async def _doubtful(self, call: ToolCall) -> ToolResult | None:
        """A result in place of a call that may be one begun before, written differently. Knows when all is decoded."""
        if not self._unmatched(call):
            return None
        await self._decoded.wait()
        unmatched = self._unmatched(call)
        if not unmatched:
            return None
        begun = "; ".join(json_text(earlier.arguments) for earlier in unmatched)
        return failed(
            call,
            "unknown_outcome",
            f"not run, since before the turn broke off {call.name!r} was begun with other arguments: {begun}",
        )

    def _unmatched(self, call: ToolCall) -> list[JournaledCall]:
        return [
            earlier
            for earlier in self._before
            if earlier.round == self._round and earlier.name == call.name and not earlier.repeatable
        ]

    async def _write(self, call: ToolCall, facts: ToolFacts) -> None:
        entry = JournaledCall(
            id=call.id,
            round=self._round,
            name=call.name,
            arguments=call.arguments,
            repeatable=facts.repeatable,
            started_s=time.time(),
        )
        if facts.repeatable:
            self._journal.intent_later(self._hold, entry)
        else:
            await self._journal.intent(self._hold, entry)


def same(earlier: JournaledCall, call: ToolCall) -> bool:
    return earlier.name == call.name and same_json(earlier.arguments, call.arguments)


def is_unknown(result: ToolResult | None) -> bool:
    return result is not None and result.error is not None and result.error.kind == "unknown_outcome"


def unknown_outcome(call: ToolCall) -> ToolResult:
    return failed(call, "unknown_outcome", "it was begun before the turn broke off; nobody knows how it ended")


def failed(call: ToolCall, kind: ErrorKind, message: str) -> ToolResult:
    return ToolResult(call_id=call.id, error=CallError(kind=kind, message=message))
