"""POST /v1/messages, whole and streamed, and POST /v1/messages/count_tokens."""

from __future__ import annotations

import asyncio

from anthropic.types import MessageTokensCount
from fastapi import APIRouter, Request, Response

from grammars.errors import RequestError
from serving.api.answering import answer_turn
from serving.api.anthropic_messages.answer import MessagesAnswer, dumped
from serving.api.anthropic_messages.request import read_messages_request, read_prompt, turn_request
from serving.api.anthropic_messages.wire import Prompt
from serving.api.places import Places
from serving.api.request_ids import identified
from serving.api.requests import caller_of, read_body, sent_by
from serving.decode.request import Decoding
from serving.engines.base import Engine
from serving.turn_request import TurnRequest
from serving.turn_runner import TurnRunner

WIRE = "anthropic messages"


def messages_router(runner: TurnRunner, engine: Engine, *, decoding: Decoding, body_limit_bytes: int) -> APIRouter:
    """The endpoints, for the engine's model and its adapters."""
    router = APIRouter()

    def asked_of(request: Request, body: Prompt) -> tuple[TurnRequest, Places]:
        server_has_tools = bool(runner.tools_for(caller_of(request)))
        asked, places = turn_request(body, server_has_tools=server_has_tools, decoding=decoding)
        return sent_by(request, asked, wire=WIRE, body=body, model=body.model, engine=engine), places

    @router.post("/v1/messages")
    async def messages(request: Request) -> Response:
        body = await asyncio.to_thread(read_messages_request, await read_body(request, body_limit_bytes))
        asked, places = asked_of(request, body)
        answer = MessagesAnswer(model=body.model)
        return await answer_turn(request, runner, asked, answer, stream=bool(body.stream), places=places)

    @router.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request) -> Response:
        body = await asyncio.to_thread(read_prompt, await read_body(request, body_limit_bytes))
        asked, places = asked_of(request, body)
        try:
            count = MessageTokensCount(input_tokens=await runner.count_tokens(asked))
        except RequestError as error:
            raise places.moved(error) from None
        return identified(request, Response(dumped(count), media_type="application/json"))

    return router
