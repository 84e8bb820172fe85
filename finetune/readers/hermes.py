"""Hermes: a dialogue from system, human, gpt and tool, calls as JSON between `<tool_call>` tags.

Tools stand in the row's `tools`, or in the system text between `<tools>` tags. That text explains the form and is left
out; another system text is kept.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from finetune.readers.data_rows import DataRow, Unreadable, field, optional_list
from finetune.readers.dialogue import Dialogue, WrittenCall, result_text
from finetune.readers.example import Example, decisions
from finetune.readers.informal import tool_name
from finetune.readers.openai_logs import read_tool
from grammars.tools import Tool

TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)
CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
RESPONSE = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
SPACE = re.compile(r"[\s,]*")


def read_hermes(row: DataRow) -> list[Example]:
    dialogue = Dialogue()
    tools: list[Any] = optional_list(row.value, "tools")
    for turn in field(row.value, "conversations", list):
        speaker, text = turn_of(turn)
        if speaker == "system":
            listed = [tool for part in TOOLS.findall(text) for tool in values(part)]
            tools = tools or listed
            if not listed and "<tool_call>" not in text:
                dialogue.system(text)
        elif speaker == "user":
            dialogue.user(text)
        elif speaker == "tool":
            dialogue.results([result_text(literal(part)) for part in RESPONSE.findall(text)] or [text.strip()])
        else:
            dialogue.assistant(CALL.sub("", text), [written_call(part) for part in CALL.findall(text)])
    return list(decisions(row.id, "hermes", dialogue.messages, [named(read_tool(tool)) for tool in tools]))


SPEAKERS = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
}


def turn_of(turn: Any) -> tuple[str, str]:
    """Who speaks, and what is said."""
    if not isinstance(turn, dict):
        raise Unreadable("a turn is a JSON object")
    speaker = SPEAKERS.get(str(turn.get("from")))
    if speaker is None:
        raise Unreadable(f"nobody in a dialogue is called {turn.get('from')!r}")
    return speaker, field(turn, "value", str)


def named(tool: Tool) -> Tool:
    return Tool(name=tool_name(tool.name), description=tool.description, parameters=tool.parameters)


def written_call(text: str) -> WrittenCall:
    call = literal(text)
    if not isinstance(call, dict):
        raise Unreadable(f"a call is a JSON object, not {text.strip()[:80]!r}")
    arguments = call.get("arguments")
    return call.get("name"), literal(arguments) if isinstance(arguments, str) else arguments


def literal(text: str) -> Any:
    """A value in the notation of JSON or, as some of this data is, of Python; else the text itself."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text.strip()


def values(text: str) -> Iterator[Any]:
    """The JSON values that stand in a text one after another; of an array, its members."""
    decoder, at = json.JSONDecoder(), SPACE.match(text)
    place = at.end() if at else 0
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"the list of tools is no JSON: {error}") from None
        yield from value if isinstance(value, list) else [value]
        after = SPACE.match(text, place)
        place = after.end() if after else len(text)
