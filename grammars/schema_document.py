"""Document: a well-formed JSON Schema, its subschemas by place, and the limits on what one may cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

JsonSchema = bool | dict[str, Any]


def words(text: str) -> frozenset[str]:
    """The words of a text, which here are keywords."""
    return frozenset(text.split())


ONE = words(
    "additionalProperties items contains not if then else propertyNames unevaluatedItems unevaluatedProperties "
    "contentSchema"
)
LISTED = words("allOf anyOf oneOf prefixItems")
NAMED = words("properties patternProperties $defs definitions dependentSchemas")
"""The keywords that hold subschemas: one, a list, or a map of them."""


@dataclass(frozen=True, kw_only=True)
class SchemaLimits:
    """What one schema may cost. `depth` counts nested JSON containers, `size_bytes` the schema as JSON text.

    `in_place_depth` is how long a chain of schemas may look at one value, `reference_depth` how deep subschemas may lie
    when references are followed: both libraries recurse on their stack, which ends the process where it ends.
    """

    depth: int = 64
    size_bytes: int = 64 * 1024
    subschemas: int = 2_000
    patterns: int = 100
    reference_depth: int = 128
    in_place_depth: int = 32


@dataclass(frozen=True, kw_only=True)
class Document:
    """A well-formed schema: its subschemas by JSON pointer, and for each `$ref` the pointer of its target."""

    root: JsonSchema
    subschemas: Mapping[str, JsonSchema]
    targets: Mapping[str, str]


def step(pointer: str, *keys: object) -> str:
    """The JSON pointer (RFC 6901) that goes on from `pointer` by these keys."""
    return pointer + "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def children(pointer: str, schema: JsonSchema) -> Iterator[tuple[str, str, Any]]:
    """The places directly below a schema where subschemas stand: (keyword, pointer, whatever is there)."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in ONE:
            yield keyword, step(pointer, keyword), value
        elif keyword in LISTED and isinstance(value, list):
            yield from ((keyword, step(pointer, keyword, index), item) for index, item in enumerate(value))
        elif keyword in NAMED and isinstance(value, dict):
            yield from ((keyword, step(pointer, keyword, name), item) for name, item in value.items())


def refers_to_properties(schema: Mapping[str, Any]) -> bool:
    """Whether something in the schema may lead elsewhere than into its definitions, such as into its own properties."""
    return any(not target.startswith(("#/$defs/", "#/definitions/")) for target in targets(schema))


def targets(value: Any) -> Iterator[str]:
    """Whatever looks like the target of a reference between schemas, or like a new base for them, however deep."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            if name in ("$ref", "$dynamicRef", "$id") and isinstance(member, str):
                yield member
            yield from targets(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from targets(member)
