"""Informal tools as real ones: types such as `str, optional` or `List[int]`, and names with spaces in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from finetune.readers.data_rows import Unreadable
from grammars.tools import Tool, is_tool_name

TYPES = {
    "str": "string",
    "string": "string",
    "text": "string",
    "int": "integer",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "number": "number",
    "double": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "dict": "object",
    "dictionary": "object",
    "object": "object",
    "map": "object",
    "list": "array",
    "array": "array",
    "tuple": "array",
    "set": "array",
    "null": "null",
    "none": "null",
    "nonetype": "null",
}
"""JSON's types by the names that data has for them, in lower case. What is not here is a value of any type."""

GENERIC = re.compile(r"(\w+)\[(.*)\]")


def schema_of_type(said: str) -> dict[str, Any]:
    """A JSON Schema for a type in the notation of Python; without `, optional`, which `is_optional` reads."""
    name = re.sub(r",?\s*optional\s*$", "", said.strip(), flags=re.IGNORECASE).strip()
    generic = GENERIC.fullmatch(name)
    if generic is None:
        json_type = TYPES.get(name.casefold())
        return {} if json_type is None else {"type": json_type}
    outer, inner = generic[1].casefold(), split_types(generic[2])
    if outer == "optional":
        return either([schema_of_type(generic[2]), {"type": "null"}])
    if outer in ("union", "literal"):
        return either([schema_of_type(one) for one in inner]) if outer == "union" else {}
    if TYPES.get(outer) != "array":
        return {"type": TYPES[outer]} if outer in TYPES else {}
    members = [one for one in inner if one.strip() != "..."]
    items = either([schema_of_type(one) for one in members])
    if outer == "tuple" and "..." not in generic[2]:
        return {"type": "array", "items": items, "minItems": len(members), "maxItems": len(members)}
    return {"type": "array", "items": items} if items else {"type": "array"}


def either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """A schema for what any of these allows."""
    distinct = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
    if not distinct or {} in distinct:
        return {}
    if len(distinct) == 1:
        return distinct[0]
    if all(schema.keys() == {"type"} and isinstance(schema["type"], str) for schema in distinct):
        return {"type": [schema["type"] for schema in distinct]}
    return {"anyOf": distinct}


def split_types(text: str) -> list[str]:
    """The types between the commas that stand in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def is_optional(said: Any) -> bool:
    return isinstance(said, str) and (
        re.search(r"\boptional\s*$", said, re.IGNORECASE) is not None or said.casefold().startswith("optional[")
    )


def informal_property(own: Any) -> dict[str, Any]:
    """One argument's JSON Schema. An empty or null default is none, as is one that the type does not allow."""
    if not isinstance(own, Mapping):
        raise Unreadable(f"a parameter is described by an object, not by {own!r}")
    said = own.get("type", "any")
    if isinstance(said, list):
        schema = either([schema_of_type(str(one)) for one in said])
    elif isinstance(said, str) and said.startswith("["):  # a list of types, written as text
        schema = either([schema_of_type(one.strip(" '\"")) for one in said.strip("[]").split(",")])
    else:
        schema = schema_of_type(str(said))
    if own.get("description"):
        schema["description"] = str(own["description"])
    for key in ("enum", "choices"):
        if isinstance(own.get(key), list) and own[key]:
            schema["enum"] = own[key]
    if own.get("default") not in (None, "") and is_of_type(own["default"], schema):
        schema["default"] = own["default"]
    return schema


def is_of_type(value: Any, schema: Mapping[str, Any]) -> bool:
    types = schema.get("type")
    if types is None:
        return True
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    name = names.get(type(value))
    allowed = {types} if isinstance(types, str) else set(types)
    return name in allowed or (name == "integer" and "number" in allowed)


def informal_parameters(described: Mapping[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """A JSON Schema for arguments that are described by name.

    Without a list of the `required` ones these are all that are not called optional and have no default. An empty
    default is none: data has it beside every parameter.
    """
    properties = {name: informal_property(own) for name, own in described.items()}
    if required is None:
        required = [
            name
            for name, own in described.items()
            if not is_optional(own.get("type")) and own.get("default") in (None, "")
        ]
    return {"type": "object", "properties": properties, "required": required}


def informal_tool(name: str, description: str, parameters: Mapping[str, Any], required: list[str] | None) -> Tool:
    return Tool(name=tool_name(name), description=description, parameters=informal_parameters(parameters, required))


def relaxed(tool: Tool, calls: Iterable[tuple[str, Any]]) -> Tool:
    """The tool with nothing required that one of these calls of it leaves out.

    For data that does not list what is required: a right call that does without an argument says that it is optional.
    """
    made = [arguments for name, arguments in calls if name == tool.name and isinstance(arguments, Mapping)]
    needed = [name for name in tool.parameters.get("required", ()) if all(name in arguments for arguments in made)]
    return replace(tool, parameters={**tool.parameters, "required": needed})


def typed(arguments: Any, schema: Mapping[str, Any]) -> Any:
    """The arguments, with numbers, truth values, lists and objects where the data has these as text.

    Only what the schema does not take as text is read so, and only if it is then of the type that the schema names.
    """
    if not isinstance(arguments, Mapping):
        return arguments
    properties = schema.get("properties", {})
    return {name: typed_value(value, properties.get(name, {})) for name, value in arguments.items()}


def typed_value(value: Any, schema: Mapping[str, Any]) -> Any:
    if not isinstance(value, str) or is_of_type(value, schema):
        return value
    for notation in (value, value.lower()):
        try:
            read = json.loads(notation)
        except (ValueError, RecursionError):
            continue
        if isinstance(read, float) and read.is_integer() and not is_of_type(read, schema):
            read = int(read)
        if is_of_type(read, schema):
            return read
    return value


def tool_name(name: str) -> str:
    """A name that can stand on every wire: what cannot becomes an underscore, a digit in front gets one before it."""
    if is_tool_name(name):
        return name
    written = re.sub(r"[^A-Za-z0-9_.-]+", "_", name.strip())
    if not re.match(r"[A-Za-z_]", written):
        written = f"_{written}"
    if not is_tool_name(written):
        raise Unreadable(f"{name[:80]!r} is no name for a tool")
    return written
