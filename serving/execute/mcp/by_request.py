"""RequestServers: connects to the MCP servers that a request names, for as long as its turn lasts.

Every request has connections of its own: no session is shared between callers, and credentials are forgotten with the
turn. Layers above the guarded transport know nothing of a URL but its origin, since any other part may be a secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit

from grammars.errors import ConfigurationError, RequestError, SourceAway, SourceFailed
from serving.execute.addresses import AllowedAddresses
from serving.execute.asked_servers import RemoteServer
from serving.execute.durations import FIRST_S
from serving.execute.mcp.source import HttpServer, McpSource
from serving.execute.offered import Selection
from serving.execute.secret import Secret
from serving.execute.server_tool import ServerTool

ANSWER_LIMIT_BYTES = 2 * 2**20
"""The largest answer of such a server."""

SECRET_SEGMENT = 16
"""A part of a URL's path that is so long is taken for a secret."""


class RequestServers:
    """One for the whole server; belongs to one event loop. `allowed` says where servers may be."""

    def __init__(self, allowed: AllowedAddresses, *, connect_timeout_s: float = 10.0) -> None:
        self._allowed = allowed
        self._connect_timeout_s = connect_timeout_s
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def opened(self, asked: Mapping[str, tuple[str, RemoteServer]]) -> AsyncIterator[dict[str, list[ServerTool]]]:
        """The tools of servers, each given by its place in the request with its label. Connected together.

        Raises `SourceFailed` for a server that cannot be used in time, and `RequestError` for tools that cannot be
        offered, at the place of the first. Disconnecting goes on in the background: nobody waits for it.
        """
        sources = {place: self._source(label, server) for place, (label, server) in asked.items()}
        try:
            found = await asyncio.gather(
                *(self._tools(place, source) for place, source in sources.items()), return_exceptions=True
            )
            for tools in found:
                if isinstance(tools, BaseException):
                    raise tools
            yield {place: tools for place, tools in zip(sources, found, strict=True) if isinstance(tools, list)}
        finally:
            for source in sources.values():
                closing = asyncio.create_task(source.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Wait until all servers are disconnected from."""
        await asyncio.gather(*self._closing)

    async def _tools(self, place: str, source: McpSource) -> list[ServerTool]:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await source.open()
        except TimeoutError:
            words = f"the MCP server {source.name!r} did not answer within {self._connect_timeout_s:g} s"
            raise SourceFailed(words, place=place) from None
        except SourceAway as error:
            raise SourceFailed(str(error), place=place) from None
        except ConfigurationError as error:
            raise RequestError(str(error), place=place) from None

    def _source(self, label: str, server: RemoteServer) -> McpSource:
        return McpSource(
            label,
            http_server(server, self._allowed),
            Selection(include=server.include, defaults={"duration_s": FIRST_S}),
            answer_limit_bytes=ANSWER_LIMIT_BYTES,
            connect_timeout_s=self._connect_timeout_s,
        )


def http_server(server: RemoteServer, allowed: AllowedAddresses) -> HttpServer:
    """The server with its secrets apart from what may be told."""
    parts = urlsplit(server.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    hidden = [Secret(name, value) for name, value in parse_qsl(parts.query)]
    hidden += [Secret("url", segment) for segment in parts.path.split("/") if len(segment) >= SECRET_SEGMENT]
    return HttpServer(
        url=f"{parts.scheme}://{parts.netloc}/",
        headers=server.headers,
        target=Secret("url", target),
        hidden=hidden,
        allowed=allowed,
    )
