"""POST /v1/messages, whole and streamed, and POST /v1/messages/count_tokens."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from anthropic.types import MessageTokensCount
from fastapi import APIRouter, Request, Response

from grammars.errors import RequestError
from serving.api.answering import answer_turn
from serving.api.anthropic_messages.answer import MessagesAnswer, dumped
from serving.api.anthropic_messages.request import read_messages_request, read_prompt, turn_request
from serving.api.anthropic_messages.threads import WIRE, Threads
from serving.api.anthropic_messages.wire import Prompt
from serving.api.places import Places
from serving.api.request_ids import identified
from serving.api.requests import caller_of, read_body, sent_by
from serving.decode.request import Decoding
from serving.engines.base import Engine
from serving.turn_request import TurnRequest
from serving.turn_runner import TurnRunner


def messages_router(runner: TurnRunner, engine: Engine, *, decoding: Decoding, body_limit_bytes: int) -> APIRouter:
    """The endpoints, for the engine's model and its adapters."""
    router = APIRouter()

    def asked_of(request: Request, body: Prompt, whole: Prompt, earlier: int = 0) -> tuple[TurnRequest, Places]:
        server_has_tools = bool(runner.tools_for(caller_of(request)))
        asked, places = turn_request(whole, server_has_tools=server_has_tools, decoding=decoding, earlier=earlier)
        return sent_by(request, asked, wire=WIRE, body=body, model=body.model, engine=engine), places

    @router.post("/v1/messages")
    async def messages(request: Request) -> Response:
        body = await asyncio.to_thread(read_messages_request, await read_body(request, body_limit_bytes))
        continued = await Threads(runner.journal, caller_of(request).name).continued(body)
        asked, places = asked_of(request, body, continued.asked, continued.earlier)
        asked = replace(asked, to_keep=continued.to_keep)
        answer = MessagesAnswer(model=body.model)
        return await answer_turn(request, runner, asked, answer, stream=bool(body.stream), places=places)

    @router.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request) -> Response:
        body = await asyncio.to_thread(read_prompt, await read_body(request, body_limit_bytes))
        asked, places = asked_of(request, body, body)
        try:
            count = MessageTokensCount(input_tokens=await runner.count_tokens(asked))
        except RequestError as error:
            raise places.moved(error) from None
        return identified(request, Response(dumped(count), media_type="application/json"))

    return router
