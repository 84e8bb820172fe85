"""Choices between schemas: which of them are not enforced whole, and whether their options exclude one another."""

from __future__ import annotations

from collections.abc import Set

from grammars.schema_document import Document, JsonSchema, children, step

CHOICES = ("anyOf", "oneOf")


def unenforced_choices(document: Document, unenforced: Set[tuple[str, str]]) -> set[tuple[str, str]]:
    """(pointer, keyword) of each choice with an option that is not enforced whole, and so is not enforced whole either.

    `unenforced` are the keywords that the grammar leaves out; an option counts if one of them is in it or in anything
    that it refers to.
    """
    affected = affected_by(document, {pointer for pointer, _ in unenforced})
    found = set()
    for pointer in affected & document.subschemas.keys():
        schema = document.subschemas[pointer]
        for keyword in CHOICES:
            if isinstance(schema, dict) and any(
                step(pointer, keyword, index) in affected for index in range(len(schema.get(keyword, ())))
            ):
                found.add((pointer, keyword))
    return found


def affected_by(document: Document, pointers: Set[str]) -> set[str]:
    """These places, and all whose schema contains one of them or refers to it, however many steps away."""
    users: dict[str, set[str]] = {}
    for pointer, schema in document.subschemas.items():
        for _, place, _ in children(pointer, schema):
            users.setdefault(place, set()).add(pointer)
        for keyword in ("$ref", "$dynamicRef"):
            if (target := document.targets.get(step(pointer, keyword))) is not None:
                users.setdefault(target, set()).add(pointer)
    affected, waiting = set(pointers), list(pointers)
    while waiting:
        new = users.get(waiting.pop(), set()) - affected
        affected |= new
        waiting += new
    return affected


def types_are_disjoint(options: list[JsonSchema]) -> bool:
    """Whether the options differ in type, so that no value matches two of them."""
    seen: set[str] = set()
    for option in options:
        if not isinstance(option, dict) or "type" not in option:
            return len(options) == 1
        types = {option["type"]} if isinstance(option["type"], str) else set(option["type"])
        types = {"number" if kind == "integer" else kind for kind in types}
        if types & seen:
            return False
        seen |= types
    return True
