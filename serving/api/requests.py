"""What every wire does with an HTTP request before and while it answers: limits, the key, and the client leaving."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel

from grammars.errors import NotFound, RequestError
from serving.api.errors import invalid_key, too_large
from serving.callers import ANYONE, ApiKey, Caller, caller_with
from serving.engines.base import Engine, Scope
from serving.execute.journal import Idempotency
from serving.turn_request import TurnRequest

Answer = TypeVar("Answer")

IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
"""The header of an answer that was given before, and is given again."""

KEY_LENGTH = 255

KEY_HEADERS = ("x-api-key", "x-goog-api-key")
"""Where the clients of Anthropic and Google send the key."""


class ClientGone(Exception):
    """The client closed the connection before its answer was ready. Nobody is left to hear of it."""


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The body, refused with 413 as soon as it is longer than the limit."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise too_large(limit_bytes)
    return bytes(body)


def key_check(keys: Sequence[ApiKey]) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses requests without one of the keys, if there are any, and finds out whose it is."""

    async def check(request: Request) -> None:
        if not keys:
            return
        caller = caller_with(given_key(request), keys)
        if caller is None:
            raise invalid_key()
        request.state.caller = caller

    return check


def given_key(request: Request) -> str:
    """The key as any of the wires' clients send it; empty where there is none."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    return next((request.headers[header] for header in KEY_HEADERS if header in request.headers), "")


def caller_of(request: Request) -> Caller:
    """Who asks, as the key check found out."""
    return getattr(request.state, "caller", ANYONE)


def sent_by(
    request: Request, asked: TurnRequest, *, wire: str, body: BaseModel, model: str, engine: Engine
) -> TurnRequest:
    """What is asked, by whoever sent this request, of the model that it names. `body` is all that it said.

    Raises `NotFound` for a model that is not here, and `RequestError` for an idempotency key that is none.
    """
    caller = caller_of(request)
    scope = Scope(tenant=caller.name, adapter=adapter_named(model, engine))
    return replace(
        asked,
        round=replace(asked.round, scope=scope),
        caller=caller,
        idempotency=read_idempotency(request, wire, body),
        wire=wire,
    )


def read_idempotency(request: Request, wire: str, asked: BaseModel) -> Idempotency | None:
    """The request's idempotency key, with a digest of all that it asks on this wire."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not 1 <= len(key) <= KEY_LENGTH or not (key.isascii() and key.isprintable()):
        raise RequestError(
            f"the idempotency key must have 1 to {KEY_LENGTH} printable ASCII characters", place=IDEMPOTENCY_KEY
        )
    fields = json.dumps([wire, asked.model_dump(mode="json", exclude_unset=True)], sort_keys=True)
    return Idempotency(key=key, digest=hashlib.sha256(fields.encode()).hexdigest())


async def unless_gone(request: Request, work: Awaitable[Answer]) -> Answer:
    """The outcome of `work`, which is cancelled when the client closes the connection (`ClientGone`)."""
    working = asyncio.create_task(awaited(work))
    leaving = asyncio.create_task(gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


async def awaited(work: Awaitable[Answer]) -> Answer:
    return await work


async def gone(request: Request) -> None:
    """Returns when the client has closed the connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def adapter_named(model: str, engine: Engine) -> str | None:
    """The adapter that a client's `model` names, None for the model itself. Raises `NotFound` for any other name."""
    if model == engine.model:
        return None
    if model in engine.adapters:
        return model
    known = ", ".join(map(repr, (engine.model, *engine.adapters)))
    raise NotFound(f"the model {model!r} does not exist here; there is {known}", place="model")
