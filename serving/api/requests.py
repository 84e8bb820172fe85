"""What every wire does with an HTTP request before and while it answers: limits, the key, and the client leaving."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request

from serving.api.errors import invalid_key, too_large

Answer = TypeVar("Answer")


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


def key_check(api_key: str | None) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses requests without the key, if there is one."""

    async def check(request: Request) -> None:
        if api_key is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), api_key.encode()):
            raise invalid_key()

    return check


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
