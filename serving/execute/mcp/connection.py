"""Connection: a session with one MCP server, opened when it is needed, and opened anew when it was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import Any

from mcp import Client, MCPError
from mcp.types import CallToolResult, Implementation, Tool
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

logger = logging.getLogger(__name__)

RECONNECT_S = 5.0
"""How long it is tried to connect, within the time of the call: so much a server may take to start again."""

CLOSE_S = 15.0
"""How long a session may take to end in good order."""

MOST_PAGES = 100
"""How many pages the list of a server's tools may have."""

SESSION_FORGOTTEN = -32090
NOT_REACHED = -32091
"""The codes of errors, made on this side, for a call that was not taken: the session is over, or nothing was sent."""

OpenStreams = Callable[[Callable[[], None]], AbstractAsyncContextManager[Any]]
"""Connects, and yields the two streams of a transport. Is given what to call once nothing more can be asked there."""


class ConnectionFailed(Exception):
    """No session could be opened. Nothing was asked of the server."""


class Session:
    """One session. The SDK wants it left by the task that entered it, so a task of its own holds it."""

    def __init__(self, name: str, open_streams: OpenStreams, connect_timeout_s: float) -> None:
        self._name = name
        self._open_streams = open_streams
        self._connect_timeout_s = connect_timeout_s
        self._calls = 0
        self._over = asyncio.Event()
        self._retired = False
        self.opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(), name=f"MCP server {name}")

    @property
    def usable(self) -> bool:
        """Whether new calls can go here."""
        return not self._retired and not self._task.done()

    @property
    def running(self) -> bool:
        """Whether the session has not ended yet."""
        return not self._task.done()

    def retire(self) -> None:
        """Take no new calls. The session ends after those that still run in it."""
        self._retired = True
        if not self._calls:
            self._over.set()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Keeps the session from ending meanwhile."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if self._retired:
                self.retire()

    async def end(self) -> None:
        """End the session, with the calls in it; one that is not open yet does not have to be left in good order."""
        self._retired = True
        self._over.set()
        if not self.opened.done():
            self._task.cancel()
        _, late = await asyncio.wait({self._task}, timeout=CLOSE_S)
        for task in late:
            logger.error("the session with the MCP server %r did not end in time", self._name)
            task.cancel()

    async def _hold(self) -> None:
        client = Client(
            self._open_streams(self.retire), client_info=Implementation(name="polycall", version="1"), cache=None
        )
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._connect_timeout_s):
                    await stack.enter_async_context(client)
                # the SDK checks answers on the event loop, with patterns of the server's that may take for ever
                client.session.validate_tool_result = unchecked  # type: ignore[assignment]
                self.opened.set_result(client)
                await self._over.wait()
        except Exception as error:
            if self.opened.done():
                logger.warning("the session with the MCP server %r broke: %s", self._name, self._said(error))
            else:
                self.opened.set_exception(ConnectionFailed(self._said(error)))
        finally:
            if not self.opened.done():
                self.opened.set_exception(ConnectionFailed("the server is going away"))
            self.opened.exception()  # perhaps nobody waits for it any more

    def _said(self, error: BaseException) -> str:
        """What went wrong, of an error that may be a group of errors."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, TimeoutError):
            return f"no answer within {self._connect_timeout_s:g} s"
        return str(error) or type(error).__name__


async def unchecked(_name: str, _result: CallToolResult) -> None:
    """Answers are checked by the caller of `Connection.call`."""


class Connection:
    """The way to one MCP server, for any number of calls at once."""

    def __init__(self, name: str, open_streams: OpenStreams, connect_timeout_s: float) -> None:
        self._name = name
        self._open_streams = open_streams
        self._connect_timeout_s = connect_timeout_s
        self._session: Session | None = None
        self._left: set[Session] = set()
        self._closed = False

    async def tools(self) -> list[Tool]:
        """All tools that the server lists. Raises `ConnectionFailed`, or the SDK's errors for a list that is none."""
        session = self._current()
        client = await asyncio.shield(session.opened)
        tools: list[Tool] = []
        cursor: str | None = None
        with session.calling():
            for _ in range(MOST_PAGES):
                async with asyncio.timeout(self._connect_timeout_s):
                    page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    return tools
        raise ConnectionFailed(f"its list of tools has more than {MOST_PAGES} pages")

    async def call(self, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """The server's answer. Raises `ConnectionFailed` or what the SDK raises.

        A call goes to the server once, and again only if the server did not take it because its session was over.
        """
        try:
            return await self._call(name, arguments)
        except MCPError as error:
            if error.code != SESSION_FORGOTTEN:
                raise
        return await self._call(name, arguments)

    async def close(self) -> None:
        """End the session, with the calls in it."""
        self._closed = True
        await asyncio.gather(*(session.end() for session in (self._session, *self._left) if session is not None))

    async def _call(self, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        session, client = await self._usable()
        with session.calling():
            return await client.call_tool(name, dict(arguments))

    async def _usable(self) -> tuple[Session, Client]:
        """The session, open. What is opening goes on for others when the call that asked for it is cancelled."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(ConnectionFailed),
            stop=stop_after_delay(RECONNECT_S),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            reraise=True,
        ):
            with attempt:
                session = self._current()
                client = await asyncio.shield(session.opened)
        return session, client

    def _current(self) -> Session:
        if self._closed:
            raise ConnectionFailed("the server is going away")
        if self._session is None or not self._session.usable:
            if self._session is not None:
                logger.info("opening a new session with the MCP server %r", self._name)
                self._left = {session for session in {*self._left, self._session} if session.running}
            self._session = Session(self._name, self._open_streams, self._connect_timeout_s)
        return self._session
