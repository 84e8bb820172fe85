"""Running streams on the engine and following them to their ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from grammars.branch import Branch
from grammars.prompt import Prefix
from serving.engines.base import BranchEnded, BranchProgress, BranchStarted, Engine


@dataclass(frozen=True, kw_only=True)
class StreamEnded:
    """A stream is over; `start_s` says when it began to decode."""

    index: int
    start_s: float
    end: BranchEnded


async def run_streams(
    engine: Engine, prefix: Prefix, branches: Sequence[Branch]
) -> AsyncGenerator[BranchProgress | StreamEnded, None]:
    """The branches' progress and ends, as they come. Closing it closes the engine's stream."""
    starts: dict[int, float] = {}
    events = engine.decode(prefix, branches)
    async with aclosing(events):
        async for event in events:
            match event:
                case BranchStarted():
                    starts[event.branch] = event.at_s
                case BranchProgress():
                    yield event
                case BranchEnded():
                    # A branch whose text was all forced ends without having begun.
                    start_s = starts.get(event.branch, event.at_s)
                    yield StreamEnded(index=event.branch, start_s=start_s, end=event)


async def run_stream(engine: Engine, prefix: Prefix, branch: Branch) -> StreamEnded:
    """One stream, to its end."""
    async with aclosing(run_streams(engine, prefix, [branch])) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                return event
    raise AssertionError("the engine's contract: every branch ends")
