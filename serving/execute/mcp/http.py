"""An MCP server over streamable HTTP, on a guarded transport.

The SDK ends the whole session when one of its requests cannot be sent or one of its answers breaks off. Here every
request has an answer: what went wrong stands in it as an error of JSON-RPC, and costs the call that it belongs to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CONNECTION_CLOSED, JSONRPC_VERSION
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from serving.execute.guarded_transport import AddressRefused, GuardedTransport, guarded_client
from serving.execute.mcp.connection import NOT_REACHED, RECONNECT_S, SESSION_FORGOTTEN

SESSION = "Mcp-Session-Id"


@asynccontextmanager
async def reached(
    url: str, transport: GuardedTransport, answer_limit_bytes: int, lose: Callable[[], None]
) -> AsyncIterator[Any]:
    """The streams of a session with the server. `lose` is called when the server no longer knows the session."""
    async with (
        guarded_client(AnsweringTransport(transport, lose)) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=answer_limit_bytes) as streams,
    ):
        yield streams


class AnsweringTransport(httpx2.AsyncBaseTransport):
    """Turns what goes wrong on the way into answers. What could not connect was not sent, and is tried again."""

    def __init__(self, transport: GuardedTransport, lose: Callable[[], None]) -> None:
        self._transport = transport
        self._lose = lose

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(could_not_connect),
                stop=stop_after_delay(RECONNECT_S),
                wait=wait_random_exponential(multiplier=0.1, max=1.0),
                reraise=True,
            ):
                with attempt:
                    response = await self._transport.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return refusal(str(error) or type(error).__name__, NOT_REACHED)
        except httpx2.TransportError as error:
            return refusal(f"the connection ended before the answer: {error or type(error).__name__}")
        if response.status_code == httpx2.codes.NOT_FOUND and SESSION in request.headers:
            await response.aclose()
            self._lose()
            return refusal("the MCP server does not know the session any more", SESSION_FORGOTTEN)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=AnsweringStream(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._transport.aclose()


class AnsweringStream(httpx2.AsyncByteStream):
    """A body whose breaking off is of the one kind that the SDK expects."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx2.AsyncByteStream)
        try:
            async for piece in self._response.stream:
                yield piece
        except httpx2.TransportError as error:
            raise httpx2.StreamError(f"the answer broke off: {error or type(error).__name__}") from error

    async def aclose(self) -> None:
        await self._response.aclose()


def could_not_connect(error: BaseException) -> bool:
    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout) and not isinstance(error, AddressRefused)


def refusal(reason: str, code: int = CONNECTION_CLOSED) -> httpx2.Response:
    error = {"code": code, "message": reason}
    return httpx2.Response(httpx2.codes.BAD_GATEWAY, json={"jsonrpc": JSONRPC_VERSION, "id": None, "error": error})
