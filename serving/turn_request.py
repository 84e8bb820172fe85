"""TurnRequest and TurnLimits: what a turn is asked, and what it may use."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from grammars.conversation import Choice, Conversation, Message
from grammars.tools import Tool
from serving.approvals import Decision, Required
from serving.callers import ANYONE, Caller
from serving.decode.events import DecodeEvent
from serving.decode.round import RoundRequest
from serving.execute.asked_servers import AskedServer
from serving.execute.journal import Idempotency


class RoundDecoder(Protocol):
    """What a turn needs of the decoder."""

    def decode_round(self, conversation: Conversation, request: RoundRequest) -> AsyncGenerator[DecodeEvent, None]:
        """One round, as events that end with `RoundEnded`. Closing the generator frees the branches."""
        ...

    async def count_tokens(self, conversation: Conversation, request: RoundRequest) -> int:
        """How many tokens the round would read."""
        ...


@dataclass(frozen=True, kw_only=True)
class TurnLimits:
    """What one turn may use, and how many turns may run at once.

    The last of `rounds` is decoded without tools, so that the turn ends in text; so is the round after `calls` are
    spent. When `wall_s` is over, the turn ends with what it has, as `length`.
    """

    rounds: int = 8
    calls: int = 128
    wall_s: float = 600.0
    turns: int = 64


@dataclass(frozen=True, kw_only=True)
class TurnRequest:
    """One request. `tools` are the client's own; the server adds its tools to them. `wire` is what it came by, for
    telemetry only.

    `servers` are those that it names beside: the turn connects to them, and if some are the operator's, it has just
    those of the operator's tools that are named. `choice_servers` narrows the choice to tools of these labels, and to
    what `choice` allows itself. Of the calls that the model writes, the server runs `most_server_calls` at most, where
    that is given. `to_keep` is kept under the turn's id once it has its answer.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    servers: tuple[AskedServer, ...] = ()
    choice: Choice | None = None
    choice_servers: frozenset[str] = frozenset()
    round: RoundRequest
    required: Required = field(default_factory=Required)
    decisions: tuple[Decision, ...] = ()
    caller: Caller = ANYONE
    idempotency: Idempotency | None = None
    most_server_calls: int | None = None
    to_keep: str | None = None
    wire: str = ""
