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
    """One request, whatever wire it came by. `tools` are the client's own; the server adds its tools to them."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    choice: Choice | None = None
    round: RoundRequest
    required: Required = field(default_factory=Required)
    decisions: tuple[Decision, ...] = ()
    caller: Caller = ANYONE
    idempotency: Idempotency | None = None
