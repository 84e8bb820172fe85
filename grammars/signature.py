"""A tool in few words: what a model reads that was trained on this form. The grammar enforces the whole schema.

    get_weather: The weather forecast for a city.
    - city (string): Its name.
    - unit ("celsius" | "fahrenheit", optional): The unit of the temperature.
    - days (integer, optional)

Little more than half the tokens of the same tool as JSON (57 % over 1,479 tools of ToolRL and Seal-Tools, SmolLM2's
tokenizer). What has no short form, such as a reference, stands there as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grammars.tools import Tool, json_text

UNION_KEYWORDS = ("anyOf", "oneOf")


def signature(tool: Tool) -> str:
    """The tool, with a line for each of its arguments."""
    head = " ".join(f"{tool.name}: {tool.description}".split()) if tool.description else tool.name
    properties = tool.parameters.get("properties")
    if not isinstance(properties, Mapping):
        return head if not tool.parameters.keys() - {"type"} else f"{head}\n- {json_text(dict(tool.parameters))}"
    required = tool.parameters.get("required") or ()
    return "\n".join(
        [head, *(argument_line(name, schema, optional=name not in required) for name, schema in properties.items())]
    )


def argument_line(name: str, schema: Any, *, optional: bool) -> str:
    """One argument: its name, its type, and what is said of it."""
    said = schema.get("description") if isinstance(schema, Mapping) else None
    kind = type_text(schema) + (", optional" if optional else "")
    return f"- {name} ({kind})" + (f": {' '.join(said.split())}" if isinstance(said, str) and said.strip() else "")


def type_text(schema: Any) -> str:
    """The type in words, or the schema as JSON where words do not reach."""
    if not isinstance(schema, Mapping):
        return json_text(schema)
    known = {name: value for name, value in schema.items() if name not in ("description", "title", "default")}
    kind = known.get("type")
    if "enum" in known or "const" in known:
        options = known["enum"] if "enum" in known else [known["const"]]
        return " | ".join(map(json_text, options))
    for keyword in UNION_KEYWORDS:
        if isinstance(known.get(keyword), list):
            return " | ".join(map(type_text, known[keyword]))
    if kind == "array" and isinstance(known.get("items"), Mapping):
        return f"list of {type_text(known['items'])}"
    if kind == "object" and isinstance(known.get("properties"), Mapping):
        required = known.get("required") or ()
        members = [
            f"{name}{'' if name in required else '?'}: {type_text(member)}"
            for name, member in known["properties"].items()
        ]
        return "{" + ", ".join(members) + "}"
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    return str(kind) if isinstance(kind, str) and "$ref" not in known else json_text(known)
