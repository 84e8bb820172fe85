"""GET /v1beta/models: the model that is served, and its adapters, as Gemini lists them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from google.genai.types import Model
from pydantic import BaseModel, Field

from grammars.errors import RequestError
from serving.api.requests import adapter_named
from serving.engines.base import Engine

METHODS = ["generateContent", "countTokens"]
HOTTEST = 2.0
"""The highest temperature that a request may ask for."""

PAGE_SIZE = 50


class ServedModel(Model):
    """Google's JSON calls the methods otherwise than its Python type does."""

    supported_generation_methods: list[str]


class ModelPage(BaseModel):
    """A part of the list; with `nextPageToken` there is more."""

    models: list[ServedModel]
    next_page_token: str | None = Field(default=None, alias="nextPageToken")


def gemini_models_router(engine: Engine) -> APIRouter:
    """The list, in pages if the client wants them, and each model by its name."""
    router = APIRouter()
    served = {name: view(name, engine) for name in (engine.model, *engine.adapters)}

    @router.get("/v1beta/models")
    async def models(request: Request) -> JSONResponse:
        size = number_in(request, "pageSize", PAGE_SIZE) or PAGE_SIZE
        start = number_in(request, "pageToken", 0)
        page: dict[str, Any] = {"models": list(served.values())[start : start + size]}
        if start + size < len(served):
            page["nextPageToken"] = str(start + size)
        return JSONResponse(page)

    @router.get("/v1beta/models/{name:path}")
    async def one_model(name: str) -> JSONResponse:
        adapter_named(name, engine)
        return JSONResponse(served[name])

    return router


def view(name: str, engine: Engine) -> dict[str, Any]:
    """The model in Google's JSON."""
    model = ServedModel(
        name=f"models/{name}",
        display_name=name,
        input_token_limit=engine.context_length,
        output_token_limit=engine.context_length,
        max_temperature=HOTTEST,
        thinking=False,
        supported_generation_methods=METHODS,
    )
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


def number_in(request: Request, name: str, default: int) -> int:
    """A number of the query, or a `RequestError` where it is none."""
    text = request.query_params.get(name)
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise RequestError(f"{name!r} is not a number", place=name)
    return int(text)
