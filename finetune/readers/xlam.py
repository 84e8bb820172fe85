"""xLAM and APIGen: a query, the tools with informal types, and the calls as answers; one round each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune.readers.data_rows import DataRow, Unreadable, field, list_field
from finetune.readers.example import Example
from finetune.readers.informal import informal_tool, relaxed, tool_name, typed
from grammars.conversation import Message
from grammars.tools import Tool


def read_xlam(row: DataRow) -> list[Example]:
    tools = [read_tool(tool) for tool in list_field(row.value, "tools")]
    schemas = {tool.name: tool.parameters for tool in tools}
    calls = [written_call(call, schemas) for call in list_field(row.value, "answers")]
    tools = [relaxed(tool, calls) for tool in tools]
    request = Message(role="user", text=field(row.value, "query", str))
    return [Example.build(id=row.id, source="xlam", messages=[request], tools=tools, calls=calls)]


def written_call(call: Any, schemas: Mapping[str, Mapping[str, Any]]) -> tuple[str, Any]:
    if not isinstance(call, dict):
        raise Unreadable("a call is a JSON object")
    name = tool_name(field(call, "name", str))
    return name, typed(call.get("arguments"), schemas.get(name, {}))


def read_tool(tool: Any) -> Tool:
    if not isinstance(tool, dict):
        raise Unreadable("a tool is a JSON object")
    parameters = tool.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Unreadable("the parameters of a tool are described by an object")
    return informal_tool(field(tool, "name", str), str(tool.get("description", "")), parameters, None)
