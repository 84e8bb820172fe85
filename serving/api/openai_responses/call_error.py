"""What went wrong with a call that the server ran, as one of the typed errors of an `mcp_call`."""

from __future__ import annotations

from openai.types.responses.mcp_tool_call_error import McpProtocolError, McpToolCallError, McpToolExecutionError

from grammars.tools import ErrorKind, ToolResult

INVALID_PARAMS = -32602
"""MCP's code for arguments that a tool cannot take, and for a tool that is not there."""

NOT_CALLED: frozenset[ErrorKind] = frozenset(
    {"invalid_arguments", "unknown_tool", "unknown_reference", "reference_cycle", "duplicate_id"}
)
"""What is wrong with a call itself, before any tool is asked."""


def call_error(result: ToolResult) -> McpToolCallError:
    """What went wrong, in the words that the model reads: with the call, or in the tool."""
    assert result.error is not None
    if result.error.kind in NOT_CALLED:
        return McpProtocolError(type="mcp_protocol_error", code=INVALID_PARAMS, message=result.text)
    return McpToolExecutionError(type="mcp_tool_execution_error", content=[{"type": "text", "text": result.text}])
