"""OpenAI's chat format: messages with `tool_calls`, and tools. Everything that the assistant said is an example, but
for messages with `"weight": 0`, as OpenAI's files for fine-tuning mark what is not to be learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from finetune.readers.data_rows import DataRow, Unreadable, field, optional_list
from finetune.readers.example import Example, decisions
from grammars.conversation import Message
from grammars.prompt import native_tool
from grammars.tools import Tool, ToolCall


def read_openai_log(row: DataRow) -> list[Example]:
    tools = [read_tool(tool) for tool in optional_list(row.value, "tools")]
    written = field(row.value, "messages", list)
    messages = [read_message(message) for message in written]
    left_out = {index for index, message in enumerate(written) if not is_learned(message)}
    examples = list(decisions(row.id, "openai", messages, tools, left_out=left_out))
    if not examples:
        raise Unreadable("all that the assistant says has the weight 0")
    return examples


def is_learned(message: Mapping[str, Any]) -> bool:
    weight = message.get("weight", 1)
    if weight not in (0, 1):
        raise Unreadable(f"the weight of a message is 0 or 1, not {weight!r}")
    return bool(weight)


def read_tool(tool: Any) -> Tool:
    """A tool as the chat API has it, or the function alone."""
    if isinstance(tool, str):
        try:
            tool = json.loads(tool)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"a tool is no JSON: {error}") from None
    if not isinstance(tool, dict):
        raise Unreadable("a tool is a JSON object")
    function = tool.get("function", tool)
    if not isinstance(function, dict):
        raise Unreadable("a tool's function is a JSON object")
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict):
        raise Unreadable("a tool's parameters are a JSON Schema")
    return Tool(
        name=field(function, "name", str), description=str(function.get("description") or ""), parameters=parameters
    )


def read_message(message: Any) -> Message:
    if not isinstance(message, dict):
        raise Unreadable("a message is a JSON object")
    role, text = message.get("role"), read_text(message.get("content"))
    if role in ("system", "developer"):
        return Message(role="system", text=text)
    if role == "user":
        return Message(role="user", text=text)
    if role == "tool":
        return Message(role="tool", text=text, call_id=field(message, "tool_call_id", str))
    if role == "assistant":
        if message.get("function_call"):
            raise Unreadable("'function_call' has no id that a result could name; write it as 'tool_calls'")
        calls = tuple(read_call(call) for call in optional_list(message, "tool_calls"))
        return Message(role="assistant", text=text, calls=calls)
    raise Unreadable(f"no role is called {role!r}")


def read_call(call: Any) -> ToolCall:
    if not isinstance(call, dict):
        raise Unreadable("a tool call is a JSON object")
    function: Mapping[str, Any] = field(call, "function", dict)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"the arguments of {function.get('name')!r} are no JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise Unreadable(f"the arguments of {function.get('name')!r} are no object")
    return ToolCall(id=field(call, "id", str), name=field(function, "name", str), arguments=arguments)


def read_text(content: Any) -> str:
    """The text of a message, also where it comes in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise Unreadable("the content of a message is text or a list of parts")
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise Unreadable("the content of a message has a part that is no text")
    return "".join(part["text"] for part in content)


def as_openai_log(example: Example) -> dict[str, Any]:
    """An example as this format has it. `read_openai_log` reads the same conversation and calls, and nothing else: what
    the assistant said before has the weight 0.
    """
    answer = Message(role="assistant", text=example.text, calls=example.calls)
    return {
        "id": example.id,
        "messages": [*map(as_said_before, example.conversation.messages), written_message(answer)],
        "tools": [native_tool(tool) for tool in example.conversation.tools],
    }


def as_said_before(message: Message) -> dict[str, Any]:
    return written_message(message) | ({"weight": 0} if message.role == "assistant" else {})


def written_message(message: Message) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.calls:
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_text}}
            for call in message.calls
        ]
    if message.call_id is not None:
        written["tool_call_id"] = message.call_id
    return written
