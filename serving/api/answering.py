"""From a turn to an HTTP response, whole or as server-sent events, in whatever form a wire gives it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

from fastapi import Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Send
from starlette.types import Scope as RequestScope

from grammars.errors import RequestError
from serving.api.places import Places
from serving.api.request_ids import identified
from serving.api.requests import REPLAYED, ClientGone, unless_gone
from serving.turn_events import TurnBegan, TurnEvent
from serving.turn_request import TurnRequest
from serving.turn_runner import TurnRunner

CLIENT_CLOSED_REQUEST = 499
"""What the log says of an answer that nobody waited for."""


Heard = TypeVar("Heard")
Writes = TypeVar("Writes", contravariant=True)


class AnswerOf(Protocol[Writes]):
    """Writes what it hears in the form of one API. Whole and streamed say the same. For one answer, in one form."""

    def whole(self, events: Sequence[Writes]) -> str:
        """The body of the answer, of all events of the turn, as JSON text."""
        ...

    def streamed(self, event: Writes) -> Iterable[ServerSentEvent]:
        """What the turn's next event adds to the stream, often nothing."""
        ...

    def closing(self) -> Iterable[ServerSentEvent]:
        """What ends a stream, after the turn's last event."""
        ...

    def broken(self, error: Exception) -> Iterable[ServerSentEvent]:
        """What ends a stream that an error broke off."""
        ...


WireAnswer = AnswerOf[TurnEvent]
"""Writes one turn."""

StreamForm = Callable[[TurnEvent, AsyncGenerator[TurnEvent, None], WireAnswer], Response]
"""Makes the streamed response of a turn's first event and the events after it."""


async def answer_turn(
    request: Request,
    runner: TurnRunner,
    asked: TurnRequest,
    answer: WireAnswer,
    *,
    stream: bool,
    form: StreamForm | None = None,
    places: Places | None = None,
) -> Response:
    """Run the turn and answer with it, streamed as server-sent events unless the wire has another `form`. When the
    client leaves, or the stream ends in any way, the turn is closed.

    Raises what the runner does, a refusal with the client's name of its place.
    """
    return await answer_events(
        request, runner.run(asked), answer, stream=stream, form=form or TurnStream, places=places or Places()
    )


async def answer_events(
    request: Request,
    events: AsyncGenerator[Heard, None],
    answer: AnswerOf[Heard],
    *,
    stream: bool,
    form: Callable[[Heard, AsyncGenerator[Heard, None], AnswerOf[Heard]], Response],
    places: Places,
) -> Response:
    """`answer_turn`, for whatever events an answer is made of."""
    try:
        if stream:
            # Until the first event an error is an answer of its own; after it, only a part of the stream.
            first = await unless_gone(request, anext(events))
            return identified(request, form(first, events, answer))
        whole = await unless_gone(request, collected(events))
    except ClientGone:
        await events.aclose()
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    except RequestError as error:
        raise places.moved(error) from None
    body = answer.whole(whole)
    return identified(request, Response(body, media_type="application/json", headers=headers_of(whole[0])))


def headers_of(first: object) -> dict[str, str]:
    """What the response says of itself, by the first event of its turn."""
    return {REPLAYED: "true"} if isinstance(first, TurnBegan) and first.replayed else {}


async def collected(events: AsyncGenerator[Heard, None]) -> list[Heard]:
    """All events of a turn."""
    async with aclosing(events):
        return [event async for event in events]


class TurnStream(EventSourceResponse):
    """The turn as server-sent events, which closes the turn when it ends."""

    def __init__(self, first: Heard, events: AsyncGenerator[Heard, None], answer: AnswerOf[Heard]) -> None:
        super().__init__(written(first, events, answer), headers=headers_of(first))
        self._close = events.aclose

    async def __call__(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._close()


async def written(
    first: Heard, events: AsyncGenerator[Heard, None], answer: AnswerOf[Heard]
) -> AsyncIterator[ServerSentEvent]:
    """The turn's events and what closes them; or the error that broke it off, and nothing after it."""
    try:
        for sent in answer.streamed(first):
            yield sent
        async for event in events:
            for sent in answer.streamed(event):
                yield sent
    except Exception as error:
        for sent in answer.broken(error):
            yield sent
    else:
        for sent in answer.closing():
            yield sent
