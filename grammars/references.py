"""References: `"$ref:2"` or `"$ref:2#/json/pointer"` as an argument, in place of what call 2 of an outline will return.

Calls are numbered from 1, and only earlier ones can be meant. A reference may stand for any argument whose place in the
schema is plain to see: those are widened, all else is as the tool wants it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from grammars import worked_example
from grammars.errors import SchemaRefused
from grammars.schema import read_schema
from grammars.schema_document import JsonSchema, refers_to_properties, words
from grammars.tools import Tool, json_text

MARK = "$ref:"
"""What a reference begins with."""

POINTER = r"(?:#(?:/(?:[^/~]|~[01])+)+)?"
REFERENCE = re.compile(rf"{re.escape(MARK)}([1-9][0-9]*)({POINTER})")

PLAIN = words(
    "type properties required additionalProperties dependentRequired minProperties maxProperties $defs definitions "
    "$schema title description default examples deprecated"
)
"""The keywords of a schema that looks at its arguments one by one, by their names in `properties`."""

INSTRUCTIONS = f"""\
A call that needs the result of an earlier call says so in its line, with the number of that call's line. In its \
arguments it then writes "{MARK}" and that number in place of the value, and after it, where only a part of the result \
is needed, "#" and a JSON pointer to it. For example, after the line "{worked_example.CALLS[0].name}: \
{worked_example.CALLS[0].subject}", the line "{worked_example.DEPENDENT.name}: {worked_example.DEPENDENT.subject}" is \
the call {json_text({"name": worked_example.DEPENDENT.name, "arguments": worked_example.DEPENDENT.arguments})}."""
"""How a model is told of references, after the instructions for the outline."""


def taking_references(tool: Tool, earlier: Collection[int]) -> Tool:
    """The tool as it may be called where references to these calls are allowed."""
    widened = replace(tool, parameters=with_references(tool.parameters, earlier))
    try:
        read_schema(widened.parameters)
    except SchemaRefused:  # it was near one of the limits already
        return tool
    return widened


def with_references(schema: Mapping[str, Any], earlier: Collection[int]) -> Mapping[str, Any]:
    """The schema whose listed properties may also be references to these calls.

    It is the same one where that would change more than it says: where properties are judged by other keywords than
    `properties`, or where a `$ref` leads into what would be widened.
    """
    if not earlier or not schema.keys() <= PLAIN or not isinstance(schema.get("properties"), Mapping):
        return schema
    if refers_to_properties(schema):
        return schema
    reference = {"type": "string", "pattern": pattern(earlier)}
    properties = {name: widened(own, reference) for name, own in schema["properties"].items()}
    return {**schema, "properties": properties}


def widened(own: JsonSchema, reference: JsonSchema) -> JsonSchema:
    """The property's own schema, or the reference. What allows everything does so already; `false` forbids the name."""
    return own if isinstance(own, bool) else {"anyOf": [own, reference]}


def pattern(earlier: Collection[int]) -> str:
    """A regular expression for the references to these calls."""
    numbers = "|".join(map(str, sorted(earlier)))
    return rf"^{re.escape(MARK)}(?:{numbers}){POINTER}$"


def calls_meant(arguments: Mapping[str, Any], earlier: Collection[int]) -> list[int]:
    """The numbers of the `earlier` calls that these arguments refer to. Only whole arguments are references."""
    found = (number_meant(value) for value in arguments.values())
    return [number for number in found if number in earlier]


def with_ids(arguments: Mapping[str, Any], ids: Mapping[int, str]) -> dict[str, Any]:
    """The arguments, those that refer to one of these calls with its id in place of its number."""
    return {name: with_id(value, ids) for name, value in arguments.items()}


def with_id(value: Any, ids: Mapping[int, str]) -> Any:
    number = number_meant(value)
    if number not in ids:
        return value
    return MARK + ids[number] + value.removeprefix(f"{MARK}{number}")


def number_meant(value: Any) -> int:
    """The number of the call that the value refers to; 0, which is no call's, if it is no reference."""
    found = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) if found is not None and len(found[1]) < 10 else 0
