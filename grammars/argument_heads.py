"""Argument heads: a call in as many streams as its tool has arguments, none of which sees another.

This is SimpleTool's way (arXiv:2603.00030), inside several calls at once. A head is a call of a tool that has just this
argument, so that the grammar, the marks and the branches are those of any call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from grammars.plan import PlannedCall
from grammars.schema_document import refers_to_properties, words
from grammars.tools import Tool, ToolCall

HEAD = "{subject}: {argument}"
"""What a head is known by, after the number of its call."""

KEPT = ("$defs", "definitions")
"""What an argument's schema may refer to."""

PLAIN = words(
    "type properties required additionalProperties $defs definitions $schema title description default examples"
)
"""Keywords beside which the arguments of a call do not depend on one another."""


def heads(tool: Tool) -> list[Tool]:
    """The tool once for each of its arguments, with this argument only."""
    schema = tool.parameters
    required = schema.get("required", [])
    return [
        replace(
            tool,
            parameters={
                **{key: schema[key] for key in KEPT if key in schema},
                "type": "object",
                "properties": {name: argument},
                "required": [name] if name in required else [],
            },
        )
        for name, argument in schema.get("properties", {}).items()
    ]


def can_be_split(tool: Tool) -> bool:
    """Whether heads could write any call of the tool that its own grammar writes: its arguments are named one by one,
    none depends on another, and there are two or more of them.
    """
    schema = tool.parameters
    names = schema.get("properties", {}).keys()
    return (
        len(names) > 1
        and schema.get("additionalProperties", False) is False
        and names >= set(schema.get("required", []))
        and not schema.keys() - PLAIN
        and not refers_to_properties(schema)
    )


def have_heads(call: ToolCall, tool: Tool) -> bool:
    """Whether heads could have written this call: every argument of it is one that the tool names."""
    return can_be_split(tool) and call.arguments.keys() <= tool.parameters["properties"].keys()


def argument_of(head: Tool) -> str:
    [name] = head.parameters["properties"]
    return str(name)


def planned_head(planned: PlannedCall, head: Tool) -> PlannedCall:
    """What a head of a planned call is known by."""
    return replace(planned, subject=HEAD.format(subject=planned.subject, argument=argument_of(head)))


def part_of(call: ToolCall, head: Tool) -> ToolCall:
    """What the head writes of the call: one argument, or none."""
    name = argument_of(head)
    return replace(call, arguments={name: call.arguments[name]} if name in call.arguments else {})


def merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The arguments that the heads of one call wrote."""
    return {name: value for one in parts for name, value in one.items()}
