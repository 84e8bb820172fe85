"""POST /v1/responses, whole and streamed; GET and DELETE of those that are stored."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from grammars.errors import RequestError
from serving.api.answering import answer_turn
from serving.api.openai_responses.answer import ResponsesAnswer, dumped
from serving.api.openai_responses.input_items import input_page, read_page
from serving.api.openai_responses.request import read_responses, turn_request
from serving.api.openai_responses.stored import WIRE, StoredRequest, StoredResponses
from serving.api.requests import caller_of, read_body, sent_by
from serving.decode.request import Decoding
from serving.engines.base import Engine
from serving.turn_runner import TurnRunner


class Forgotten(BaseModel):
    """As OpenAI says that a response is deleted; its client hands nothing of it on."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


def responses_router(runner: TurnRunner, engine: Engine, *, decoding: Decoding, body_limit_bytes: int) -> APIRouter:
    """The endpoints, for the engine's model and its adapters."""
    router = APIRouter()

    def stored_for(request: Request) -> StoredResponses:
        return StoredResponses(runner.journal, caller_of(request).name)

    @router.post("/v1/responses")
    async def responses(request: Request) -> Response:
        body = await asyncio.to_thread(read_responses, await read_body(request, body_limit_bytes))
        earlier = await stored_for(request).before(body.previous_response_id)
        server_has_tools = bool(runner.tools_for(caller_of(request)))
        asked = await asyncio.to_thread(
            turn_request, body, earlier.items, server_has_tools=server_has_tools, decoding=decoding
        )
        turn = sent_by(request, asked.turn, wire=WIRE, body=body, model=body.model, engine=engine)
        approved = frozenset(decision.call_id for decision in turn.decisions if decision.approve)
        if body.store is not False:
            kept = StoredRequest(body=body, earlier=earlier.turns, approved=approved)
            turn = replace(turn, to_keep=kept.written())
        answer = ResponsesAnswer(body, approved)
        return await answer_turn(request, runner, turn, answer, stream=bool(body.stream), places=asked.places)

    @router.get("/v1/responses/{response_id}")
    async def stored_response(response_id: str, request: Request) -> Response:
        if request.query_params.get("stream", "false") != "false":
            raise RequestError("a stored response is not streamed again", place="stream")
        found = await stored_for(request).response(response_id)
        return Response(dumped(found), media_type="application/json")

    @router.delete("/v1/responses/{response_id}")
    async def forget_response(response_id: str, request: Request) -> Forgotten:
        await stored_for(request).forget(response_id)
        return Forgotten(id=response_id)

    @router.get("/v1/responses/{response_id}/input_items")
    async def input_items(response_id: str, request: Request) -> JSONResponse:
        page = read_page(request.query_params)
        asked = await stored_for(request).request(response_id)
        return JSONResponse(input_page(asked.items, response_id, page))

    return router
