"""ToolRL's supervised rows: tools inside an instruction, a dialogue in tags, and one answer of calls or text.

The thoughts that the rows have, another model's, are left out.
"""

from __future__ import annotations

import json
import re

from finetune.readers.data_rows import DataRow, Unreadable, field
from finetune.readers.dialogue import Dialogue, WrittenCall
from finetune.readers.example import Example
from finetune.readers.informal import informal_tool, relaxed, typed
from grammars.tools import Tool

TOOL = re.compile(r"^\d+\. Name: (.+)\nDescription: (.*(?:\n(?!Parameters: ).*)*)\nParameters: (\{.*\})$", re.MULTILINE)
NUMBERED = re.compile(r"^\d+\. Name: ", re.MULTILINE)
TURN = re.compile(r"<(user|think|tool_call|obs|response)>(.*?)</\1>", re.DOTALL)


def read_toolrl(row: DataRow) -> list[Example]:
    dialogue = Dialogue()
    for tag, text in turns(field(row.value, "input", str)):
        enter(dialogue, tag, text)
    history = list(dialogue.messages)
    for tag, text in turns(field(row.value, "output", str)):
        enter(dialogue, tag, text)
    answer = dialogue.messages[len(history) :]
    if len(answer) != 1:
        raise Unreadable(f"the output has {len(answer)} answers, where one is due")
    tools = read_tools(field(row.value, "instruction", str))
    schemas = {tool.name: tool.parameters for tool in tools}
    calls = [(call.name, typed(call.arguments, schemas.get(call.name, {}))) for call in answer[0].calls]
    return [
        Example.build(
            id=row.id,
            source="toolrl",
            messages=history,
            tools=[relaxed(tool, calls) for tool in tools],
            calls=calls,
            text=answer[0].text,
        )
    ]


def read_tools(instruction: str) -> list[Tool]:
    section = instruction.partition("**Available Tools**")[2].partition("**Steps for Each Turn**")[0]
    found = TOOL.findall(section)
    if len(found) != len(NUMBERED.findall(section)):
        raise Unreadable("the instruction has tools that cannot be read")
    tools = []
    for name, description, parameters in found:
        try:
            described = json.loads(parameters)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"the parameters of {name!r} are no JSON: {error}") from None
        tools.append(informal_tool(name.strip(), description.strip(), described, None))
    return tools


def turns(text: str) -> list[tuple[str, str]]:
    """The tagged parts of a dialogue."""
    found = [(match[1], match[2]) for match in TURN.finditer(text)]
    rest = TURN.sub("", text).replace("**Dialogue Records History**", "").strip()
    if rest:
        raise Unreadable(f"there is text outside of the tags: {rest[:80]!r}")
    return found


def enter(dialogue: Dialogue, tag: str, text: str) -> None:
    if tag == "user":
        dialogue.user(text)
    elif tag == "tool_call":
        dialogue.assistant("", [written_call(line) for line in text.splitlines() if line.strip()])
    elif tag == "obs":
        dialogue.observed(text)
    elif tag == "response":
        dialogue.assistant(text)


def written_call(line: str) -> WrittenCall:
    try:
        call = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"a call is no JSON: {error}") from None
    if not isinstance(call, dict):
        raise Unreadable(f"a call is an object, not {line[:80]!r}")
    return call.get("name"), call.get("parameters")
