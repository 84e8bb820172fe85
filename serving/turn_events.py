"""What happens in one turn, in any number of rounds, as every wire hears it.

A wire writes `TurnBegan`, `ToolsListed`, `TextWritten`, `CallStarted`, `CallFinished`, `CallHandedBack` and
`TurnEnded`, which the journal keeps, so that the same answer can be given again; the other events are for progress,
logs and timelines. A call that the server runs stands where it started, or, if it never did, where it finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from grammars.tools import Tool, ToolCall
from serving.decode.events import CallFailed, CallWritten, Figures, RoundEnded, TextWritten
from serving.execute.execute import CallFinished, CallStarted
from serving.execute.server_tool import OWN

TurnReason = Literal["calls", "text", "length", "approval"]


@dataclass(frozen=True, kw_only=True)
class TurnBegan:
    """The turn is under way; always the first event. What goes wrong before it is an error of the whole request.

    `created_s` is in seconds since 1970. `replayed`: the answer was given before, to the same idempotency key, and is
    given again; nothing is run.
    """

    turn_id: str
    created_s: float
    replayed: bool = False


@dataclass(frozen=True, kw_only=True)
class ListedServer:
    """A server of tools that the request named, and its tools that the turn may call, as the model sees them."""

    label: str
    tools: tuple[Tool, ...]


@dataclass(frozen=True, kw_only=True)
class ToolsListed:
    """Whose tools the server runs in this turn. At most once, right after `TurnBegan`.

    `labels` tells where each tool comes from, by the tool's name; those that it lacks are the operator's own functions
    (`OWN`). `servers` are those that the request named, in its order.
    """

    labels: Mapping[str, str]
    servers: tuple[ListedServer, ...] = ()

    def label_of(self, tool: str) -> str:
        """Where the tool comes from."""
        return self.labels.get(tool, OWN)


@dataclass(frozen=True, kw_only=True)
class CallHandedBack:
    """A call that is the client's to run. They come in call order, `position` counting from 0 without gaps."""

    position: int
    call: ToolCall


@dataclass(frozen=True, kw_only=True)
class TurnFigures:
    """What a turn cost. The rounds' own figures are added up, and also kept for timelines.

    `repeats` counts the rounds that asked only for what was answered already, and so were not run again. `out_of_time`
    tells that the wall time ended the turn; the round that it cut is not among `rounds`. `start_s` is on the clock of
    `time.monotonic`; `wait_s` is the time in which nothing was decoded because calls still ran.
    """

    rounds: tuple[Figures, ...] = ()
    repeats: int = 0
    out_of_time: bool = False
    start_s: float = 0.0
    total_s: float = 0.0
    decode_s: float = 0.0
    wait_s: float = 0.0

    @property
    def steps(self) -> int:
        return sum(figures.steps for figures in self.rounds)

    @property
    def plan_steps(self) -> int:
        return sum(figures.plan_steps for figures in self.rounds)

    @property
    def branches(self) -> int:
        return sum(figures.branches for figures in self.rounds)

    @property
    def fallbacks(self) -> int:
        return sum(figures.fallbacks for figures in self.rounds)

    @property
    def duplicates_removed(self) -> int:
        return sum(figures.duplicates_removed for figures in self.rounds)

    @property
    def prompt_tokens(self) -> int:
        return sum(figures.prompt_tokens for figures in self.rounds)

    @property
    def cached_tokens(self) -> int | None:
        """Those of `prompt_tokens` that the engine still held from before; None where it does not know."""
        known = [figures.cached_tokens for figures in self.rounds if figures.cached_tokens is not None]
        return sum(known) if known else None

    @property
    def completion_tokens(self) -> int:
        return sum(figures.completion_tokens for figures in self.rounds)


@dataclass(frozen=True, kw_only=True)
class TurnEnded:
    """The turn is over; always the last event.

    `calls`: calls were handed back. `approval`: none were, and calls wait for approval. `text`: the answer is complete.
    `length`: a limit cut the answer short. `stop` is the stop string that ended the text, if one did. `server_calls`
    are those that the server ran, in call order, `failures` those that could not be written, and `awaiting` those that
    wait for approval, also beside calls handed back.
    """

    turn_id: str
    reason: TurnReason
    stop: str | None = None
    figures: TurnFigures
    server_calls: tuple[CallFinished, ...] = ()
    failures: tuple[CallFailed, ...] = ()
    awaiting: tuple[ToolCall, ...] = ()


TurnEvent = (
    TurnBegan
    | ToolsListed
    | TextWritten
    | CallWritten
    | CallFailed
    | CallStarted
    | CallFinished
    | CallHandedBack
    | RoundEnded
    | TurnEnded
)
