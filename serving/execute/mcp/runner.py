"""McpRunner: calls of one tool of an MCP server, and what comes of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mcp import MCPError
from mcp.types import CONNECTION_CLOSED, INVALID_PARAMS, PARSE_ERROR, CallToolResult, TextContent

from grammars.schema import Schema
from grammars.tools import json_text
from serving.execute.mcp.connection import NOT_REACHED, Connection, ConnectionFailed
from serving.execute.offered import shortened
from serving.execute.secret import Redactor
from serving.execute.server_tool import InvalidArguments, ToolFailed, ToolRefused


class McpRunner:
    """Runs calls of one tool of an MCP server."""

    def __init__(self, name: str, connection: Connection, redactor: Redactor, output_schema: Schema | None) -> None:
        self._name = name
        self._connection = connection
        self._redactor = redactor
        self._output_schema = output_schema

    async def run(self, arguments: Mapping[str, Any]) -> Any:
        try:
            result = await self._connection.call(self._name, arguments)
        except ConnectionFailed as error:
            raise ToolFailed(self._said(f"the MCP server cannot be reached: {error}")) from None
        except MCPError as error:
            said = self._said(error.message)
            if error.code == NOT_REACHED:
                said = f"the MCP server cannot be reached: {said}"
            if error.code == INVALID_PARAMS:
                raise InvalidArguments(said) from None
            if error.code == CONNECTION_CLOSED:
                said = f"{said}; whether the call took effect is not known"
            if error.code == PARSE_ERROR:
                raise ToolRefused(said) from None
            raise ToolFailed(said) from None
        except (RuntimeError, ValueError) as error:  # the SDK's word for an answer that breaks the protocol
            raise ToolRefused(self._said(f"the answer is not what MCP asks for: {error}")) from None
        value = self._redactor.value(value_of(result))
        if result.is_error:
            raise ToolRefused(shortened(value if isinstance(value, str) else json_text(value)) or "the tool failed")
        if self._output_schema is not None:
            await self._check(self._output_schema, result)
        return value

    async def _check(self, schema: Schema, result: CallToolResult) -> None:
        """Raise `ToolRefused` for structured content that is not as the tool's own schema says."""
        if result.structured_content is None:
            raise ToolRefused("the answer lacks the structured content that the tool's schema asks for")
        problems = await asyncio.to_thread(schema.problems, result.structured_content)
        if problems:
            said = "; ".join(f"{problem.pointer or 'the answer'}: {problem.message}" for problem in problems)
            raise ToolRefused(self._said(f"the answer is not as the tool's schema says: {said}"))

    def _said(self, text: str) -> str:
        return shortened(self._redactor.text(text))


def value_of(result: CallToolResult) -> Any:
    """What a tool answered: its structured content if it has any, else its text, else all that it sent."""
    if result.structured_content is not None:
        return result.structured_content
    if all(isinstance(block, TextContent) for block in result.content):
        texts = [block.text for block in result.content if isinstance(block, TextContent)]
        return texts[0] if len(texts) == 1 else texts
    return [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
