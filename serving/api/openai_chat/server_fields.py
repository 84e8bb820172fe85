"""What servers of tools did for an answer, in the fields in which LiteLLM has it: `provider_specific_fields`.

They stand in the answers to requests that named servers. Streamed, the list of tools comes first, what ran last.
"""

from __future__ import annotations

from typing import Any

from openai.types.chat.chat_completion_chunk import ChoiceDelta

from grammars.tools import Tool, ToolCall
from serving.turn_events import ToolsListed, TurnEnded

Fields = dict[str, list[dict[str, Any]]]


def listed_fields(listed: ToolsListed) -> Fields:
    """The tools of all servers that the request named."""
    return {"mcp_list_tools": [listed_tool(tool) for server in listed.servers for tool in server.tools]}


def ran_fields(listed: ToolsListed, ended: TurnEnded) -> Fields:
    """The calls of these tools that were run, and what came of each, in call order."""
    names = {tool.name for server in listed.servers for tool in server.tools}
    ran = [finished for finished in ended.server_calls if finished.call.name in names]
    return {
        "mcp_tool_calls": [called(finished.call) for finished in ran],
        "mcp_call_results": [
            {"tool_call_id": finished.call.id, "name": finished.call.name, "result": finished.result.text}
            for finished in ran
        ],
    }


def with_fields(delta: ChoiceDelta, fields: Fields) -> ChoiceDelta:
    """The delta, which has such fields from now on."""
    delta.provider_specific_fields = fields  # type: ignore[attr-defined]
    return delta


def listed_tool(tool: Tool) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": described}


def called(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_text}}
