"""The one text that a grammar allows for a JSON value: names, numbers and escapes as the grammar has them."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from decimal import Decimal
from typing import Any

from grammars.schema_check import validator_of
from grammars.schema_document import JsonSchema

DELETE = re.compile("\x7f")


def canonical_text(value: Any, lowered: JsonSchema) -> str:
    """`value` as the grammar of `lowered` writes it. For a value that it does not admit, the nearest it comes to."""
    return _Writer(lowered).text(value, [lowered])


class _Writer:
    def __init__(self, lowered: JsonSchema) -> None:
        self._definitions = lowered.get("$defs", {}) if isinstance(lowered, dict) else {}

    def text(self, value: Any, schemas: list[JsonSchema]) -> str:
        if isinstance(value, dict):
            here = list(self._in_place(value, schemas))
            listed = _listed(value, here)
            members = [
                f"{_name_text(name, listed)}: {self.text(value[name], _member(name, here))}"
                for name in dict.fromkeys([*listed, *value])
                if name in value
            ]
            return "{" + ", ".join(members) + "}"
        if isinstance(value, list | tuple):
            here = list(self._in_place(value, schemas))
            return "[" + ", ".join(self.text(item, _item(index, here)) for index, item in enumerate(value)) + "]"
        if isinstance(value, str):
            return string_text(value)
        if value is None or isinstance(value, bool):
            return json.dumps(value)
        return number_text(value)

    def _in_place(self, value: Any, schemas: list[JsonSchema]) -> Iterator[dict[str, Any]]:
        """All schemas that look at the value, in the grammar's order; of a choice, the first option that admits it."""
        for schema in schemas:
            if isinstance(schema, bool):
                continue
            yield schema
            if "$ref" in schema:
                yield from self._in_place(value, [self._definitions[schema["$ref"].rsplit("/", 1)[1]]])
            yield from self._in_place(value, schema.get("allOf", []))
            for option in schema.get("anyOf", []):
                if self._admits(option, value):
                    yield from self._in_place(value, [option])
                    break

    def _admits(self, option: JsonSchema, value: Any) -> bool:
        whole = {**option, "$defs": self._definitions} if isinstance(option, dict) else option
        return validator_of(whole).is_valid(value)


def _listed(value: dict[str, Any], schemas: list[dict[str, Any]]) -> dict[str, None]:
    """The names that the schemas mention, in the grammar's order: as they are listed, then the other required ones."""
    order: dict[str, None] = {}
    for schema in schemas:
        order.update(dict.fromkeys(schema.get("properties", {})))
        for constant in schema.get("enum", []):
            if constant == value:
                order.update(dict.fromkeys(constant))
    for schema in schemas:
        order.update(dict.fromkeys(schema.get("required", [])))
    return order


def _name_text(name: str, listed: Container[str]) -> str:
    """The grammar has listed names as `json.dumps` writes them, DEL as it is; any other is a string like the rest."""
    return json.dumps(name, ensure_ascii=False) if name in listed else string_text(name)


def _member(name: str, schemas: list[dict[str, Any]]) -> list[JsonSchema]:
    found: list[JsonSchema] = []
    for schema in schemas:
        if name in schema.get("properties", {}):
            found.append(schema["properties"][name])
        patterns = schema.get("patternProperties", {})
        matching = [patterns[pattern] for pattern in patterns if validator_of({"pattern": pattern}).is_valid(name)]
        found.extend(matching)
        if name not in schema.get("properties", {}) and not matching:
            found.append(schema.get("additionalProperties", True))
        found.extend({"enum": [constant[name]]} for constant in schema.get("enum", []) if _has(constant, name))
    return found


def _has(constant: Any, name: str) -> bool:
    return isinstance(constant, dict) and name in constant


def _item(index: int, schemas: list[dict[str, Any]]) -> list[JsonSchema]:
    found: list[JsonSchema] = []
    for schema in schemas:
        prefix = schema.get("prefixItems", [])
        found.append(prefix[index] if index < len(prefix) else schema.get("items", True))
        found.extend(
            {"enum": [constant[index]]}
            for constant in schema.get("enum", [])
            if isinstance(constant, list) and index < len(constant)
        )
    return found


def string_text(text: str) -> str:
    """A JSON string with as few escapes as the grammar has: for quotes, backslashes, control characters and DEL."""
    return DELETE.sub(r"\\u007f", json.dumps(text, ensure_ascii=False))


def number_text(number: int | float) -> str:
    """A JSON number without an exponent; without a fraction where it has none."""
    if isinstance(number, int) or number.is_integer():
        return str(int(number))
    return format(Decimal(repr(number)), "f")
