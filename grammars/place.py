"""Place: one place in a value, and all the schemas that look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grammars.schema_document import Document, step, words
from grammars.schema_references import in_place

ARRAY = words("items prefixItems minItems maxItems unevaluatedItems contains uniqueItems")
SAYS_OPEN = words("additionalProperties patternProperties unevaluatedProperties")
"""The keywords that describe the members of an array, and those that say which other members an object may have."""

ENOUGH_CHOICES = 10_000
"""Counting stops here."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """All the schemas that look at one place, seen from the first of them."""

    reached: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    properties: Mapping[str, int]
    lists: bool
    open: bool
    arrays: int
    choices: int
    _openers: tuple[str, ...] = ()

    def opens_besides(self, schema: dict[str, Any]) -> bool:
        """Whether any of them but `schema` itself says what other members may be."""
        return len(self._openers) > len(SAYS_OPEN & schema.keys())

    @classmethod
    def at(cls, document: Document, pointer: str) -> Place:
        reached: dict[str, str] = {}
        waiting = [("", pointer)]
        names: dict[str, None] = {}
        properties: dict[str, int] = {}
        lists, arrays = False, 0
        openers: list[str] = []
        while waiting:
            keyword, at = waiting.pop()
            schema = document.subschemas[at]
            if isinstance(schema, bool) or keyword == "not":
                continue
            for name in schema.get("properties", {}):
                properties[name] = properties.get(name, 0) + 1
                names.setdefault(name)
            names.update(dict.fromkeys(schema.get("required", ())))
            for name, needed in schema.get("dependentRequired", {}).items():
                names.update(dict.fromkeys([name, *needed]))
            lists = lists or "properties" in schema
            openers.extend((SAYS_OPEN | {"$dynamicRef"}) & schema.keys())
            arrays += bool(ARRAY & schema.keys())
            for inner, place in reversed(list(in_place(document, at))):
                if place not in reached and place != pointer:
                    reached[place] = inner
                    waiting.append((inner, place))
        return cls(
            reached=tuple((keyword, place) for place, keyword in reached.items()),
            names=tuple(names),
            properties=properties,
            lists=lists,
            open=bool(openers),
            arrays=arrays,
            choices=count_choices(document, pointer, {}),
            _openers=tuple(openers),
        )


def count_choices(document: Document, pointer: str, known: dict[str, int]) -> int:
    """How many combinations of options the choices in one place come to, were they all multiplied out."""
    if pointer in known:
        return known[pointer]
    schema = document.subschemas[pointer]
    total = 1
    if isinstance(schema, dict):
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                total *= sum(
                    count_choices(document, step(pointer, keyword, i), known) for i in range(len(schema[keyword]))
                )
        for i in range(len(schema.get("allOf", ()))):
            total *= count_choices(document, step(pointer, "allOf", i), known)
        target = document.targets.get(step(pointer, "$ref"))
        if target is not None and target in document.subschemas:
            total *= count_choices(document, target, known)
    known[pointer] = min(total, ENOUGH_CHOICES)
    return known[pointer]
