"""Running streams on the engine and following them to their ends, alone or several beside one another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Self, TypeVar

from grammars.branch import Branch
from grammars.errors import DecodingFailed
from grammars.prompt import Prefix
from grammars.tokenizer import Tokenizer
from serving.engines.base import SHARED, BranchEnded, BranchProgress, BranchStarted, Engine, Scope


@dataclass(frozen=True, kw_only=True)
class StreamEnded:
    """A stream is over; `start_s` says when it began to decode."""

    index: int
    start_s: float
    end: BranchEnded


StreamEvent = BranchStarted | BranchProgress | StreamEnded


@dataclass(kw_only=True)
class OpenStream:
    """What one stream has written so far, for the books when it is left before its end."""

    start_s: float = 0.0
    _at_s: float = 0.0
    _steps: int = 0
    _pieces: list[str] = field(default_factory=list)

    def take(self, event: BranchStarted | BranchProgress) -> str:
        """The text that this event adds."""
        self._at_s = event.at_s
        if isinstance(event, BranchStarted):
            self.start_s = event.at_s
            return ""
        self._pieces.append(event.text)
        self._steps = event.steps
        return event.text

    def left(self, tokenizer: Tokenizer) -> BranchEnded:
        """The stream as ended here; its tokens are those of its text."""
        text = "".join(self._pieces)
        return BranchEnded(
            branch=0,
            reason="complete",
            text=text,
            tokens=tokenizer.encode(text),
            steps=self._steps,
            forced_tokens=0,
            at_s=self._at_s,
        )


async def run_streams(
    engine: Engine, prefix: Prefix, branches: Sequence[Branch], scope: Scope = SHARED
) -> AsyncGenerator[StreamEvent, None]:
    """The branches' beginnings, progress and ends, as they come. Closing it closes the engine's stream."""
    starts: dict[int, float] = {}
    events = engine.decode(prefix, branches, scope)
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


async def run_stream(engine: Engine, prefix: Prefix, branch: Branch, scope: Scope = SHARED) -> StreamEnded:
    """One stream, to its end."""
    async with aclosing(run_streams(engine, prefix, [branch], scope)) as events:
        async for event in events:
            if isinstance(event, StreamEnded):
                return event
    raise AssertionError("the engine's contract: every branch ends")


Key = TypeVar("Key", bound=Hashable)


class StreamGroup(Generic[Key]):
    """Streams over one prefix that may start at any time, beside those that already decode. Leaving it frees them all.

    Each `start` has a key, by which its events are told apart. The group is over when all that was started is over.
    """

    def __init__(self, engine: Engine, prefix: Prefix, scope: Scope = SHARED) -> None:
        self._engine = engine
        self._prefix = prefix
        self._scope = scope
        self._events: asyncio.Queue[tuple[Key, StreamEvent] | Exception | None] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def start(self, key: Key, branches: Sequence[Branch]) -> None:
        """Decode these branches from now on."""
        self._running.add(asyncio.create_task(self._run(key, branches)))

    async def events(self) -> AsyncGenerator[tuple[Key, StreamEvent], None]:
        """What happens in any of the streams, as it happens. Raises what the engine raises."""
        while self._running or not self._events.empty():
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            if event is not None:
                yield event

    async def _run(self, key: Key, branches: Sequence[Branch]) -> None:
        try:
            async with aclosing(run_streams(self._engine, self._prefix, branches, self._scope)) as events:
                async for event in events:
                    self._events.put_nowait((key, event))
        except Exception as error:
            self._events.put_nowait(error)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._running.discard(task)
            self._events.put_nowait(None)  # the reader may wait for an event that no longer comes


def check_unbroken(end: BranchEnded) -> None:
    """Raise `DecodingFailed` for a stream whose constraint broke, so that there is no answer in it."""
    if end.reason == "failed":
        raise DecodingFailed(f"the grammar of the answer broke: {end.error}")
