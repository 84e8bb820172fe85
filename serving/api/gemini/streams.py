"""The two forms of streamGenerateContent: server-sent events with `alt=sse`, one JSON array without it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from fastapi.responses import StreamingResponse
from sse_starlette import ServerSentEvent
from starlette.types import Receive, Send
from starlette.types import Scope as RequestScope

from serving.api.answering import TurnStream, WireAnswer, headers_of, written
from serving.turn_events import TurnEvent


class GeminiStream(TurnStream):
    """Server-sent events that are kept alive by empty lines: Google's client takes a comment for broken JSON."""

    def __init__(self, first: TurnEvent, events: AsyncGenerator[TurnEvent, None], answer: WireAnswer) -> None:
        super().__init__(first, events, answer)
        self.ping_message_factory = ServerSentEvent


class GeminiArray(StreamingResponse):
    """All chunks as the elements of one JSON array, each sent as it comes. Closes the turn when it ends."""

    def __init__(self, first: TurnEvent, events: AsyncGenerator[TurnEvent, None], answer: WireAnswer) -> None:
        super().__init__(elements(first, events, answer), media_type="application/json", headers=headers_of(first))
        self._events = events

    async def __call__(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


async def elements(first: TurnEvent, events: AsyncGenerator[TurnEvent, None], answer: WireAnswer) -> AsyncIterator[str]:
    """The text of the array, piece by piece."""
    before = "["
    async for sent in written(first, events, answer):
        yield f"{before}{sent.data}"
        before = ",\r\n"
    yield "]"
