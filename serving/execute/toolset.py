"""ToolSet: tools by name, be it all that the server has or what one request may use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from grammars.tools import Tool
from serving.execute.server_tool import ServerTool


class ToolSet(Protocol):
    """What an executor runs."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What is offered to the model, in order."""
        ...

    def get(self, name: str) -> ServerTool | None:
        """The tool of that name, if it is one of them."""
        ...


class Chosen:
    """These tools, whose names differ."""

    def __init__(self, tools: Iterable[ServerTool]) -> None:
        self._tools = {tool.tool.name: tool for tool in tools}

    @property
    def tools(self) -> tuple[Tool, ...]:
        return tuple(found.tool for found in self._tools.values())

    def get(self, name: str) -> ServerTool | None:
        return self._tools.get(name)
