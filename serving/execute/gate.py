"""Gate: who stands before and behind each call that runs, be it a journal, an approval or a list of what is allowed."""

from __future__ import annotations

from typing import Protocol

from grammars.tools import ToolCall, ToolResult
from serving.execute.server_tool import ServerTool


class Gate(Protocol):
    """Stands around the calls of one turn. Called for many calls at once; what it raises ends only the call at hand."""

    async def enter(self, call: ToolCall, tool: ServerTool) -> ToolResult | None:
        """Just before a call runs, its references replaced by values: None to run it, or a result in place of running.

        Nothing of the call has happened before this returns.
        """
        ...

    async def leave(self, call: ToolCall, result: ToolResult) -> None:
        """Just after a call ran, timed out or was cancelled, before anybody hears of it. Is not cancelled itself."""
        ...


class OpenGate:
    """Lets every call pass."""

    async def enter(self, call: ToolCall, tool: ServerTool) -> ToolResult | None:
        return None

    async def leave(self, call: ToolCall, result: ToolResult) -> None:
        return None
