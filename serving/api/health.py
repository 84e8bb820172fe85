"""Probes: GET /health, and NIM's /v1/health/live and /v1/health/ready; and GET /v1/models, for what is served."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal

from anthropic.types import ModelInfo
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from openai.types import Model
from pydantic import BaseModel

from serving.api.requests import adapter_named
from serving.engines.base import Engine
from serving.turn_runner import TurnRunner


class Health(BaseModel):
    """`status` is `ok`, or says what is wrong; `turns` run now."""

    status: str
    turns: int


class HealthStatus(BaseModel):
    """As NIM answers its probes."""

    object: Literal["health-response"] = "health-response"
    message: str


def health_router(engine: Engine, runner: TurnRunner) -> APIRouter:
    """Whether the server can answer: 200, or 503 once the engine has died, from which only a restart helps."""
    router = APIRouter(tags=["operations"])

    @router.get("/health", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Health}})
    async def health(response: Response) -> Health:
        response.status_code = status_of(engine)
        return Health(status="ok" if engine.healthy else "the engine cannot decode", turns=runner.live_turns)

    @router.get("/v1/health/live")
    async def live() -> HealthStatus:
        return HealthStatus(message="Service is live.")

    @router.get("/v1/health/ready", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": HealthStatus}})
    async def ready(response: Response) -> HealthStatus:
        response.status_code = status_of(engine)
        return HealthStatus(message=f"Service is {'' if engine.healthy else 'not '}ready.")

    return router


def status_of(engine: Engine) -> HTTPStatus:
    return HTTPStatus.OK if engine.healthy else HTTPStatus.SERVICE_UNAVAILABLE


def listed(name: str, created: int, context_length: int) -> dict[str, Any]:
    """A model as OpenAI and Anthropic both list it. `created` is in seconds since 1970."""
    info = ModelInfo(
        id=name,
        type="model",
        display_name=name,
        created_at=datetime.fromtimestamp(created, UTC),
        lifecycle="active",
        max_input_tokens=context_length,
    )
    model = Model(id=name, object="model", created=created, owned_by="polycall")
    return {**info.model_dump(mode="json", exclude_unset=True), **model.model_dump(mode="json")}


def models_router(engine: Engine) -> APIRouter:
    """The model that is served, and its adapters, in a form that the clients of OpenAI and Anthropic both read."""
    router = APIRouter()
    created = int(time.time())
    served = {name: listed(name, created, engine.context_length) for name in (engine.model, *engine.adapters)}

    @router.get("/v1/models")
    async def models() -> JSONResponse:
        names = list(served)
        page = {"first_id": names[0], "last_id": names[-1], "has_more": False}
        return JSONResponse({"object": "list", "data": list(served.values()), **page})

    @router.get("/v1/models/{name:path}")
    async def one_model(name: str) -> JSONResponse:
        adapter_named(name, engine)
        return JSONResponse(served[name])

    return router
