"""The application: every wire on one turn runner, behind one key, and one place for errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

from serving.api import errors
from serving.api.about import about_router, release
from serving.api.anthropic_messages.endpoint import messages_router
from serving.api.anthropic_messages.error import anthropic_error
from serving.api.described import DESCRIBED
from serving.api.document import Document, document_router
from serving.api.gemini.endpoint import gemini_router
from serving.api.gemini.errors import gemini_error
from serving.api.gemini.models import gemini_models_router
from serving.api.gemini.paths import GeminiPaths
from serving.api.health import health_router, models_router
from serving.api.metrics import metrics_router
from serving.api.openai_chat.endpoint import chat_router
from serving.api.openai_responses.endpoint import responses_router
from serving.api.requests import key_check
from serving.api.turns import turns_router
from serving.callers import ApiKey
from serving.decode.request import Decoding
from serving.engines.base import Engine
from serving.execute.toolbox import Toolbox
from serving.turn_runner import TurnRunner

SHAPES: dict[str, errors.ErrorShape] = {"/v1/messages": anthropic_error, "/v1beta": gemini_error}
"""The shapes of errors, by where the paths begin; all others are OpenAI's."""


@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """How the wires behave. With `keys` everything needs one of them but the probes and the OpenAPI document."""

    keys: tuple[ApiKey, ...] = ()
    body_limit_bytes: int = 8 * 1024 * 1024
    decoding: Decoding = "parallel"


def create_app(
    engine: Engine, runner: TurnRunner, options: ApiOptions | None = None, toolbox: Toolbox | None = None
) -> FastAPI:
    """The application, which opens its journal and tools before it serves, and closes all when it shuts down."""
    options = options or ApiOptions()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            await runner.open()
            async with (toolbox or Toolbox()).opened():
                yield
        finally:
            await engine.close()
            await runner.close()

    def heard(fault: errors.Fault) -> None:
        runner.telemetry.answered_with_error(fault.status, fault.code)

    app = FastAPI(title="polycall", version=release(), lifespan=lifespan, openapi_url=None)
    errors.register(app, shapes=SHAPES, heard=heard)
    app.add_middleware(GeminiPaths)
    keyed = [Depends(key_check(options.keys))]
    probes = health_router(engine, runner)
    app.include_router(probes)
    app.include_router(about_router(engine), dependencies=keyed)
    app.include_router(metrics_router(engine, runner), dependencies=keyed)
    app.include_router(models_router(engine), dependencies=keyed)
    chat = chat_router(runner, engine, decoding=options.decoding, body_limit_bytes=options.body_limit_bytes)
    app.include_router(chat, dependencies=keyed)
    responses = responses_router(runner, engine, decoding=options.decoding, body_limit_bytes=options.body_limit_bytes)
    app.include_router(responses, dependencies=keyed)
    messages = messages_router(runner, engine, decoding=options.decoding, body_limit_bytes=options.body_limit_bytes)
    app.include_router(messages, dependencies=keyed)
    gemini = gemini_router(runner, engine, decoding=options.decoding, body_limit_bytes=options.body_limit_bytes)
    app.include_router(gemini, dependencies=keyed)
    app.include_router(gemini_models_router(engine), dependencies=keyed)
    app.include_router(turns_router(runner), dependencies=keyed)
    open_paths = {route.path for route in probes.routes if isinstance(route, APIRoute)}
    document = Document(app, DESCRIBED, SHAPES, has_keys=bool(options.keys), open_paths=open_paths)
    app.include_router(document_router(document))
    return app
