"""Running streams on the engine and following them to their ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from grammars.branch import Branch
from grammars.prompt import Prefix
from grammars.tokenizer import Tokenizer
from serving.engines.base import BranchEnded, BranchProgress, BranchStarted, Engine


@dataclass(frozen=True, kw_only=True)
class StreamEnded:
    """A stream is over; `start_s` says when it began to decode."""

    index: int
    start_s: float
    end: BranchEnded


@dataclass(kw_only=True)
class OpenStream:
    """What one stream has written so far, for the books when it is left before its end."""

    start_s: float = 0.0
    _at_s: float = 0.0
    _pieces: list[str] = field(default_factory=list)

    def take(self, event: BranchStarted | BranchProgress) -> str:
        """The text that this event adds."""
        self._at_s = event.at_s
        if isinstance(event, BranchStarted):
            self.start_s = event.at_s
            return ""
        self._pieces.append(event.text)
        return event.text

    def left(self, tokenizer: Tokenizer) -> BranchEnded:
        """The stream as ended here: each piece of text was one step, and its tokens are those of the text."""
        text = "".join(self._pieces)
        return BranchEnded(
            branch=0,
            reason="complete",
            text=text,
            tokens=tokenizer.encode(text),
            steps=len(self._pieces),
            forced_tokens=0,
            at_s=self._at_s,
        )


async def run_streams(
    engine: Engine, prefix: Prefix, branches: Sequence[Branch]
) -> AsyncGenerator[BranchStarted | BranchProgress | StreamEnded, None]:
    """The branches' beginnings, progress and ends, as they come. Closing it closes the engine's stream."""
    starts: dict[int, float] = {}
    events = engine.decode(prefix, branches)
    async with aclosing(events):
        async for event in events:
            match event:
                case BranchStarted():
                    starts[event.branch] = event.at_s
                    yield event
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
