"""Grouped requests: tools, and several requests to whoever has these, each with the calls that are right for it.

It is the form of what is written for polycall itself (`finetune/written/`): `{"topic", "tools", "requests": [{"text",
"calls": [{"name", "arguments"}]}]}`, tools as the chat API has them. No calls: none of the tools can serve.
"""

from __future__ import annotations

from typing import Any

from finetune.readers.data_rows import DataRow, field
from finetune.readers.example import Example
from finetune.readers.openai_logs import read_tool
from grammars.conversation import Message

GROUPED = "grouped"


def read_grouped(row: DataRow) -> list[Example]:
    """An example for each request."""
    tools = [read_tool(tool) for tool in field(row.value, "tools", list)]
    return [
        Example.build(
            id=f"{row.id}/{number}",
            source=GROUPED,
            messages=[Message(role="user", text=field(request, "text", str))],
            tools=tools,
            calls=[written_call(call) for call in field(request, "calls", list)],
        )
        for number, request in enumerate(field(row.value, "requests", list), start=1)
    ]


def written_call(call: Any) -> tuple[str, Any]:
    return field(call, "name", str), field(call, "arguments", dict)
