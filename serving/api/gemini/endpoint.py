"""POST /v1beta/models/{model}: generateContent, streamGenerateContent and countTokens."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from google.genai.types import CountTokensResponse

from grammars.errors import RequestError
from serving.api.answering import StreamForm, answer_turn
from serving.api.gemini.answer import GeminiAnswer
from serving.api.gemini.request import Asked, read_asked, read_count, read_generate
from serving.api.gemini.streams import GeminiArray, GeminiStream
from serving.api.gemini.wire import GenerateContentRequest
from serving.api.requests import caller_of, read_body, sent_by
from serving.decode.request import Decoding
from serving.engines.base import Engine
from serving.turn_request import TurnRequest
from serving.turn_runner import TurnRunner

FORMS: dict[str, StreamForm] = {"sse": GeminiStream, "json": GeminiArray}
"""How a stream is sent, by the query's `alt`."""


def gemini_router(runner: TurnRunner, engine: Engine, *, decoding: Decoding, body_limit_bytes: int) -> APIRouter:
    """The endpoints, for the engine's model and its adapters."""
    router = APIRouter()

    def asked_by(request: Request, generate: GenerateContentRequest) -> Asked:
        server_has_tools = bool(runner.tools_for(caller_of(request)))
        return read_asked(generate, server_has_tools=server_has_tools, decoding=decoding)

    def sent(request: Request, asked: Asked, generate: GenerateContentRequest, model: str) -> TurnRequest:
        return sent_by(request, asked.turn, wire="gemini", body=generate, model=model, engine=engine)

    async def generated(request: Request, model: str, form: StreamForm | None) -> Response:
        body = await read_body(request, body_limit_bytes)
        generate = await asyncio.to_thread(read_generate, body, model)
        asked = asked_by(request, generate)
        turn = sent(request, asked, generate, model)
        answer = GeminiAnswer(model=model, logprobs=turn.round.logprobs is not None)
        streamed = form is not None
        return await answer_turn(request, runner, turn, answer, stream=streamed, form=form, places=asked.places)

    @router.post("/v1beta/models/{model:path}:generateContent")
    async def generate_content(model: str, request: Request) -> Response:
        return await generated(request, model, None)

    @router.post("/v1beta/models/{model:path}:streamGenerateContent")
    async def stream_generate_content(model: str, request: Request) -> Response:
        form = FORMS.get(request.query_params.get("alt", "json"))
        if form is None:
            raise RequestError(f"'alt' is one of {', '.join(map(repr, FORMS))}", place="alt")
        return await generated(request, model, form)

    @router.post("/v1beta/models/{model:path}:countTokens")
    async def count_tokens(model: str, request: Request) -> Response:
        body = await read_body(request, body_limit_bytes)
        counted = await asyncio.to_thread(read_count, body, model)
        try:
            asked = asked_by(request, counted.request)
            try:
                total = await runner.count_tokens(sent(request, asked, counted.request, model))
            except RequestError as error:
                raise asked.places.moved(error) from None
        except RequestError as error:
            raise counted.places.moved(error) from None
        response = CountTokensResponse(total_tokens=total)
        return JSONResponse(response.model_dump(mode="json", by_alias=True, exclude_unset=True))

    return router
