"""POST /v1/chat/completions: OpenAI's Chat Completions, whole and streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Send
from starlette.types import Scope as RequestScope

from grammars.tools import json_text
from serving.api.errors import error_body
from serving.api.openai_chat_answer import ChatAnswer
from serving.api.openai_chat_request import names_one_tool, read_chat, turn_request
from serving.api.requests import (
    REPLAYED,
    ClientGone,
    adapter_named,
    caller_of,
    read_body,
    read_idempotency,
    unless_gone,
)
from serving.decode.request import Decoding
from serving.engines.base import Engine, Scope
from serving.turn_events import TurnBegan, TurnEvent
from serving.turn_runner import TurnRunner

CLIENT_CLOSED_REQUEST = 499
"""What the log says of an answer that nobody waited for."""


def chat_router(runner: TurnRunner, engine: Engine, *, decoding: Decoding, body_limit_bytes: int) -> APIRouter:
    """The endpoint, for the engine's model and its adapters."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        chat = await asyncio.to_thread(read_chat, await read_body(request, body_limit_bytes))
        caller = caller_of(request)
        asked = turn_request(chat, server_has_tools=bool(runner.tools_for(caller)), decoding=decoding)
        scope = Scope(tenant=caller.name, adapter=adapter_named(chat.model, engine))
        asked = replace(
            asked,
            round=replace(asked.round, scope=scope),
            caller=caller,
            idempotency=read_idempotency(request, "chat completions", chat),
        )
        include_usage = bool(chat.stream_options and chat.stream_options.include_usage)
        answer = ChatAnswer(model=chat.model, named=names_one_tool(chat), include_usage=include_usage)
        events = runner.run(asked)
        try:
            if chat.stream:
                # Until the first event an error is an answer of its own; after it, only a part of the stream.
                first = await unless_gone(request, anext(events))
                return ChatStream(first, events, answer)
            whole = await unless_gone(request, collected(events))
        except ClientGone:
            await events.aclose()
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return Response(
            answer.whole(whole).model_dump_json(exclude_unset=True),
            media_type="application/json",
            headers=headers_of(whole[0]),
        )

    return router


def headers_of(first: TurnEvent) -> dict[str, str]:
    """What the response says of itself, by the first event of its turn."""
    return {REPLAYED: "true"} if isinstance(first, TurnBegan) and first.replayed else {}


async def collected(events: AsyncGenerator[TurnEvent, None]) -> list[TurnEvent]:
    """All events of a turn."""
    async with aclosing(events):
        return [event async for event in events]


class ChatStream(EventSourceResponse):
    """The turn as server-sent events. When the client leaves, or the stream ends in any way, the turn is closed."""

    def __init__(self, first: TurnEvent, events: AsyncGenerator[TurnEvent, None], answer: ChatAnswer) -> None:
        super().__init__(written(first, events, answer), headers=headers_of(first))
        self._events = events

    async def __call__(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


async def written(
    first: TurnEvent, events: AsyncGenerator[TurnEvent, None], answer: ChatAnswer
) -> AsyncIterator[ServerSentEvent]:
    """The chunks of the turn, then `[DONE]`; or the error that broke it off, and nothing after it."""
    try:
        for chunk in answer.chunks(first):
            yield ServerSentEvent(chunk.model_dump_json(exclude_unset=True))
        async for event in events:
            for chunk in answer.chunks(event):
                yield ServerSentEvent(chunk.model_dump_json(exclude_unset=True))
    except Exception as error:
        yield ServerSentEvent(json_text(error_body(error)))
    else:
        yield ServerSentEvent("[DONE]")
