"""Asks an application without a socket: thousands of requests in seconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from grammars.dialects import dialect_of
from serving.api.app import ApiOptions, create_app
from serving.decode.round import Decoder
from serving.engines.scripted import ScriptedEngine
from serving.execute.execute import Executor
from serving.execute.registry import Registry
from serving.turn_request import TurnLimits
from serving.turn_runner import TurnRunner


@dataclass(frozen=True)
class Response:
    status: int
    media_type: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def application(registry: Registry | None = None) -> AsyncIterator[FastAPI]:
    """A server whose model writes what its constraints allow."""
    engine = ScriptedEngine()
    limits = TurnLimits(wall_s=10.0)
    runner = TurnRunner(Decoder(engine, dialect_of(engine.tokenizer)), Executor(registry or Registry()), limits)
    app = create_app(engine, runner, ApiOptions())
    async with app.router.lifespan_context(app):
        yield app


async def post(app: FastAPI, path: str, body: bytes, *, timeout_s: float = 20.0) -> Response:
    """The whole response, streamed or not. The client stays until it is complete."""
    sent: list[dict[str, Any]] = []
    asked = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in asked:
            return message
        await asyncio.Event().wait()  # until the application has heard enough
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"here"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    async with asyncio.timeout(timeout_s):
        await app(scope, receive, send)  # type: ignore[arg-type]
    start, *pieces = sent
    headers = dict(start["headers"])
    media_type = headers.get(b"content-type", b"").decode().partition(";")[0]
    return Response(start["status"], media_type, b"".join(piece.get("body", b"") for piece in pieces))
