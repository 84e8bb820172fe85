"""GET /health for probes, and GET /v1/models for clients that ask what is served."""

from __future__ import annotations

import time
from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from openai.types import Model

from serving.api.requests import adapter_named
from serving.engines.base import Engine
from serving.turn_runner import TurnRunner


def health_router(engine: Engine, runner: TurnRunner) -> APIRouter:
    """Whether the server can answer: 200, or 503 once the engine has died."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> JSONResponse:
        state = "ok" if engine.healthy else "the engine cannot decode"
        status = HTTPStatus.OK if engine.healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"status": state, "turns": runner.live_turns}, status_code=status)

    return router


def models_router(engine: Engine) -> APIRouter:
    """The model that is served, and its adapters."""
    router = APIRouter()
    created = int(time.time())
    served = {
        name: Model(id=name, object="model", created=created, owned_by="polycall").model_dump(mode="json")
        for name in (engine.model, *engine.adapters)
    }

    @router.get("/v1/models")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": list(served.values())})

    @router.get("/v1/models/{name:path}")
    async def one_model(name: str) -> JSONResponse:
        adapter_named(name, engine)
        return JSONResponse(served[name])

    return router
