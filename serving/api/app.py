"""The application: every wire on one turn runner, behind one key, and one place for errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Depends, FastAPI

from serving.api import errors
from serving.api.health import health_router, models_router
from serving.api.openai_chat import chat_router
from serving.api.requests import key_check
from serving.decode.request import Decoding
from serving.engines.base import Engine
from serving.execute.toolbox import Toolbox
from serving.turn import TurnRunner


@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """How the wires behave. With an `api_key` everything under /v1 needs it; /health never does."""

    api_key: str | None = None
    body_limit_bytes: int = 8 * 1024 * 1024
    decoding: Decoding = "parallel"


def create_app(
    engine: Engine, runner: TurnRunner, options: ApiOptions | None = None, toolbox: Toolbox | None = None
) -> FastAPI:
    """The application, which opens its tools before it serves, and closes them and the engine when it shuts down."""
    options = options or ApiOptions()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            async with (toolbox or Toolbox()).opened():
                yield
        finally:
            await engine.close()

    app = FastAPI(title="polycall", lifespan=lifespan)
    errors.register(app)
    keyed = [Depends(key_check(options.api_key))]
    app.include_router(health_router(engine, runner))
    app.include_router(models_router(engine.model), dependencies=keyed)
    chat = chat_router(runner, model=engine.model, decoding=options.decoding, body_limit_bytes=options.body_limit_bytes)
    app.include_router(chat, dependencies=keyed)
    return app
