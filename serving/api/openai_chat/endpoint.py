"""POST /v1/chat/completions, whole and streamed."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from serving.api.answering import TurnStream, answer_events, answer_turn
from serving.api.mcp_tools import tool_places
from serving.api.openai_chat.answer import ChatAnswer
from serving.api.openai_chat.choices import ChoicesAnswer, run_choices
from serving.api.openai_chat.request import check_choices, names_one_tool, read_chat, turn_request
from serving.api.requests import caller_of, read_body, sent_by
from serving.decode.request import Decoding
from serving.engines.base import Engine
from serving.turn_runner import TurnRunner


def chat_router(runner: TurnRunner, engine: Engine, *, decoding: Decoding, body_limit_bytes: int) -> APIRouter:
    """The endpoint, for the engine's model and its adapters."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        chat = await asyncio.to_thread(read_chat, await read_body(request, body_limit_bytes))
        server_has_tools = bool(runner.tools_for(caller_of(request)))
        asked = sent_by(
            request,
            turn_request(chat, server_has_tools=server_has_tools, decoding=decoding),
            wire="chat completions",
            body=chat,
            model=chat.model,
            engine=engine,
        )
        include_usage = bool(chat.stream_options and chat.stream_options.include_usage)
        named, stream, places = names_one_tool(chat), bool(chat.stream), tool_places(chat.tools)
        count = chat.n or 1
        if count == 1:
            answer = ChatAnswer(model=chat.model, named=named, include_usage=include_usage)
            return await answer_turn(request, runner, asked, answer, stream=stream, places=places)
        check_choices(asked, server_has_tools=server_has_tools)
        choices = ChoicesAnswer(count, model=chat.model, named=named, include_usage=include_usage)
        events = run_choices(runner, asked, count)
        return await answer_events(request, events, choices, stream=stream, form=TurnStream, places=places)

    return router
