"""Schemas that only an endless value could satisfy, found and cut off, so that no stream enters one."""

from __future__ import annotations

from typing import Any

from grammars.schema_document import JsonSchema


def without_endless(root: JsonSchema, definitions: dict[str, JsonSchema]) -> tuple[JsonSchema, dict[str, JsonSchema]]:
    """Replace what only an endless value could satisfy by `false`, so that no stream enters it."""
    finite: set[str] = set()

    def ends(schema: JsonSchema) -> bool:
        if isinstance(schema, bool):
            return schema
        if "enum" in schema:
            return bool(schema["enum"])
        if "$ref" in schema and schema["$ref"].rsplit("/", 1)[1] not in finite:
            return False
        if not all(ends(member) for member in schema.get("allOf", ())):
            return False
        if "anyOf" in schema and not any(ends(option) for option in schema["anyOf"]):
            return False
        types = schema.get("type", ["null"])
        types = [types] if isinstance(types, str) else types
        return any(ends_as(kind, schema) for kind in types)

    def ends_as(kind: str, schema: dict[str, Any]) -> bool:
        if kind == "object":
            rest = schema.get("additionalProperties", True)
            members = schema.get("properties", {})
            return all(ends(members.get(name, rest)) for name in schema.get("required", ()))
        if kind == "array":
            prefix, least = schema.get("prefixItems", []), schema.get("minItems", 0)
            return all(ends(item) for item in prefix[:least]) and (
                least <= len(prefix) or ends(schema.get("items", True))
            )
        return True

    growing = True
    while growing:
        found = {name for name, schema in definitions.items() if name not in finite and ends(schema)}
        finite |= found
        growing = bool(found)
    endless = {f"#/$defs/{name}" for name in definitions.keys() - finite}

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("$ref") in endless:
                return False
            return {key: item if key == "enum" else cut(item) for key, item in value.items()}
        return [cut(item) for item in value] if isinstance(value, list) else value

    if not endless:
        return root, definitions
    return cut(root), {name: cut(schema) for name, schema in definitions.items() if name in finite}
