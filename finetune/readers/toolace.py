"""ToolACE: a dialogue whose calls are written as in Python, `[weather(city="Rome"), time(place="Oslo")]`.

The tools are a JSON array in the system text, with informal types. That text explains the form and is left out.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any

from finetune.readers.data_rows import DataRow, Unreadable, field
from finetune.readers.dialogue import Dialogue, WrittenCall
from finetune.readers.example import Example, decisions
from finetune.readers.hermes import turn_of
from finetune.readers.informal import TYPES, tool_name
from grammars.tools import Tool

CONSTANTS = {"true": True, "false": False, "null": None}
"""JSON's words where Python has others: both occur."""


def read_toolace(row: DataRow) -> list[Example]:
    dialogue = Dialogue()
    tools = read_tools(field(row.value, "system", str)) if "system" in row.value else []
    for turn in field(row.value, "conversations", list):
        speaker, text = turn_of(turn)
        if speaker == "system":
            tools = read_tools(text)
        elif speaker == "user":
            dialogue.user(text)
        elif speaker == "tool":
            dialogue.observed(text)
        elif text.strip().startswith("[") and text.strip().endswith(")]"):
            dialogue.assistant("", list(written_calls(text.strip()[1:-1])))
        else:
            dialogue.assistant(text)
    return list(decisions(row.id, "toolace", dialogue.messages, tools))


def read_tools(system: str) -> list[Tool]:
    """The tools of the first JSON array of objects in the system text; none if it has none."""
    start = system.find("[{")
    if start < 0:
        return []
    try:
        tools, _ = json.JSONDecoder().raw_decode(system, start)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the list of tools is no JSON: {error}") from None
    return [
        Tool(
            name=tool_name(field(tool, "name", str)),
            description=str(tool.get("description") or ""),
            parameters=with_types(tool.get("parameters") or {"type": "object", "properties": {}}),
        )
        for tool in tools
    ]


def with_types(schema: Any) -> Any:
    """The schema with JSON's names of types in place of informal ones; `any` and the like go."""
    if not isinstance(schema, Mapping):
        return schema
    mended: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            if value.casefold() in TYPES:
                mended[key] = TYPES[value.casefold()]
        elif key == "properties" and isinstance(value, Mapping):
            mended[key] = {name: with_types(own) for name, own in value.items()}
        elif key in ("items", "additionalProperties"):
            mended[key] = with_types(value)
        elif value is not None:
            mended[key] = value
    return mended


def written_calls(text: str) -> Iterator[WrittenCall]:
    """The calls of a list. Names may have spaces in them, so Python's own parser reads only what is in the brackets."""
    at = 0
    while at < len(text):
        opening = text.find("(", at)
        if opening < 0:
            raise Unreadable(f"a call has no brackets: {text[at : at + 80]!r}")
        name = text[at:opening].strip(" ,\n")
        for closing in closings(text, opening):
            try:
                call = ast.parse(f"f{text[opening : closing + 1]}", mode="eval").body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue  # the bracket stands inside a string
            if isinstance(call, ast.Call):
                yield name, arguments_of(call)
                at = closing + 1
                break
        else:
            raise Unreadable(f"a call cannot be read: {text[at : at + 80]!r}")


def closings(text: str, start: int) -> Iterator[int]:
    while (start := text.find(")", start + 1)) >= 0:
        yield start


def arguments_of(call: ast.Call) -> dict[str, Any]:
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise Unreadable("an argument of a call has no name")
    return {str(keyword.arg): value_of(keyword.value) for keyword in call.keywords}


def value_of(node: ast.expr) -> Any:
    """The value that is written, in Python's notation or with JSON's words in it."""
    match node:
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.List(elts=members) | ast.Tuple(elts=members):
            return [value_of(member) for member in members]
        case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
            return {str(value_of(key)): value_of(own) for key, own in zip(keys, values, strict=True) if key is not None}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise Unreadable(f"a value is no literal: {ast.unparse(node)[:80]!r}") from None
