"""Journal: what was done for which request, written down before it is done, so that nothing is done twice.

A turn is begun in the journal and held by one server; only its holder may write to it. Each call that could do harm
when it runs twice is written down before it starts, each result after it. When a server dies, or a client leaves, the
turn is open: whoever brings its idempotency key next goes on with it, and finds what was begun and what came of it.
What is written is JSON text, of which the journal understands the calls only.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from grammars.tools import ToolResult

TurnState = Literal["running", "interrupted", "finished"]


@dataclass(frozen=True, kw_only=True)
class Idempotency:
    """The key that a client gives a request, and the sha256 of what it asked: one key stands for one request."""

    key: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Hold:
    """The right to write to a turn, until somebody else takes the turn over."""

    turn_id: str
    token: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, kw_only=True)
class JournaledCall:
    """A call that was told to go ahead. Without a `result` it was begun, and nobody wrote down how it ended.

    `round` counts from 1; 0 are calls of an earlier turn that this one runs, since it brought their approval.
    `arguments` are the final ones, references replaced. Times are seconds since 1970.
    """

    id: str
    round: int
    name: str
    arguments: Mapping[str, Any]
    repeatable: bool
    started_s: float
    ended_s: float | None = None
    result: ToolResult | None = None

    @property
    def known(self) -> bool:
        """Whether the result may stand for the call. A cancelled call may have done what it does, or not."""
        return self.result is not None and (self.result.error is None or self.result.error.kind != "cancelled")


@dataclass(frozen=True, kw_only=True)
class JournaledTurn:
    """What the journal has of a turn: its rounds that are over, its calls, its answer.

    Calls stand in the order of their start, those of one moment in that of their ids.
    """

    id: str
    caller: str
    key: str | None
    state: TurnState
    created_s: float
    answer: str | None = None
    rounds: tuple[str, ...] = ()
    calls: tuple[JournaledCall, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Something kept for a later request of the same caller, under a name that the request can tell."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What was kept, and the calls that an earlier turn made of it before it was broken off."""

    text: str
    calls: tuple[JournaledCall, ...] = ()


class Journal(Protocol):
    """One for the whole server; belongs to one event loop. Writes of one server are done in the order of the calls.

    Where a method awaits, what it wrote is durable when it returns; the others are durable before a later one that
    awaits. All that awaits raises `JournalUnavailable` where the journal cannot be written, and with a hold `TurnLost`
    where somebody else has taken the turn over.
    """

    async def open(self) -> None:
        """Make it ready, before the first request."""
        ...

    async def close(self) -> None:
        """Write what is still to be written, and let go."""
        ...

    async def begin(self, hold: Hold, caller: str, idempotency: Idempotency | None) -> JournaledTurn:
        """Begin a turn under the hold's id, or, if the caller used the key before, find that turn under its own id.

        A turn that is `running` now belongs to the hold's token, with what was done before it was broken off; one
        that is `finished` has its answer and no holder. Raises `KeyReused` if the key came with another request, and
        `TurnInProgress` while somebody else holds the turn.
        """
        ...

    async def intent(self, hold: Hold, call: JournaledCall) -> None:
        """Write down that the call is about to run, in place of what stood under its id."""
        ...

    def intent_later(self, hold: Hold, call: JournaledCall) -> None:
        """Likewise, without waiting: for calls that may run twice."""
        ...

    def rename(self, hold: Hold, old_id: str, new_id: str) -> None:
        """The call goes by another id from now on, unless the turn has a call of that id: neither is lost then."""
        ...

    def outcome(self, hold: Hold, result: ToolResult, ended_s: float) -> None:
        """Write down what came of the call."""
        ...

    def round_over(self, hold: Hold, number: int, record: str) -> None:
        """The round is over; the turn, if it is broken off, goes on after it."""
        ...

    async def finish(self, hold: Hold, answer: str, kept: Sequence[Kept] = ()) -> None:
        """The turn has its answer, and keeps what later requests may need, in one step. Ends the hold."""
        ...

    def release(self, hold: Hold) -> None:
        """The turn is broken off, if it is not finished. Ends the hold."""
        ...

    async def turn(self, turn_id: str, caller: str) -> JournaledTurn | None:
        """All that is known of a turn of this caller's."""
        ...

    async def answers(self, caller: str, turn_ids: Sequence[str]) -> dict[str, str]:
        """The answers of these turns of the caller's, by their ids; turns without one are left out."""
        ...

    async def kept(self, caller: str, names: Sequence[str]) -> dict[str, str]:
        """What is kept for the caller under these names; names without anything are left out."""
        ...

    async def forget(self, caller: str, name: str) -> bool:
        """Keep nothing for the caller under this name any more. Returns whether something was."""
        ...

    async def take(self, hold: Hold, caller: str, name: str) -> Taken | None:
        """What is kept under the name, for this turn only. None: nothing.

        Raises `AlreadyTaken` if a turn took it that is finished, and `TurnInProgress` if one that still runs did. One
        that was broken off is succeeded, and its calls of round 0 are handed on.
        """
        ...
