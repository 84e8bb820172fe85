"""Grouped requests: tools, and several requests to whoever has these, each with the calls that are right for it.

It is the form of what is written for polycall itself (`finetune/written/`): `{"topic", "tools", "requests": [{"text",
"calls": [{"name", "arguments"}]}]}`, tools as the chat API has them. No calls: none of the tools can serve. A request
may go on with `"results"`, one a call, and the `"answer"` that follows from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune.answered import with_results
from finetune.readers.data_rows import DataRow, Unreadable, field
from finetune.readers.example import Example
from finetune.readers.openai_logs import read_tool
from grammars.conversation import Message
from grammars.tools import ToolResult

GROUPED = "grouped"


def read_grouped(row: DataRow) -> list[Example]:
    """An example for each request, and one for each answer that follows from results."""
    tools = [read_tool(tool) for tool in field(row.value, "tools", list)]
    found = []
    for number, request in enumerate(field(row.value, "requests", list), start=1):
        asked = Example.build(
            id=f"{row.id}/{number}",
            source=GROUPED,
            messages=[Message(role="user", text=field(request, "text", str))],
            tools=tools,
            calls=[written_call(call) for call in field(request, "calls", list)],
        )
        found.append(asked)
        if "results" in request or "answer" in request:
            found.append(after_results(asked, field(request, "results", list), field(request, "answer", str)))
    return found


def after_results(asked: Example, values: Sequence[Any], answer: str) -> Example:
    """What follows when the calls have these results: no more calls, and an answer."""
    if len(values) != len(asked.calls):
        raise Unreadable(f"there are {len(asked.calls)} calls with {len(values)} results")
    results = [ToolResult(call_id=call.id, value=value) for call, value in zip(asked.calls, values, strict=True)]
    try:
        return with_results(asked, results, answer)
    except ValueError as error:
        raise Unreadable(str(error)) from None


def written_call(call: Any) -> tuple[str, Any]:
    return field(call, "name", str), field(call, "arguments", dict)
