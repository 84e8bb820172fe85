"""ToolSource: where tools come from that are not known before the server is up, such as an MCP server."""

from __future__ import annotations

from typing import Protocol

from serving.execute.server_tool import ServerTool


class ToolSource(Protocol):
    """Opened once before the first request is answered, and closed after the last. Both on the server's event loop."""

    @property
    def name(self) -> str:
        """What the source is called in settings, errors and logs."""
        ...

    async def open(self) -> list[ServerTool]:
        """Connect, and return the tools. Raises `ConfigurationError` where the source cannot be used at all."""
        ...

    async def close(self) -> None:
        """Disconnect. Calls that still run fail. Does not raise."""
        ...
