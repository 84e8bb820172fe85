"""Google's schemas, a subset of OpenAPI 3.0, as JSON Schemas: types in small letters, references to `$defs`.

What both know has the same name and place in both, so that a JSON pointer into one is a pointer into the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from grammars.errors import RequestError
from serving.api.gemini.base import GeminiWire

SchemaType = Literal[
    "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL",
    "string", "number", "integer", "boolean", "array", "object", "null",
]  # fmt: skip

Count = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d{1,18}$")]
"""A number that Google's JSON may write as a string, as it does all 64-bit integers."""


class Schema(GeminiWire):
    """One schema. `example` and `title` only describe; `format` is what JSON Schema makes of it."""

    type: SchemaType | None = None
    format: str | None = None
    title: str | None = None
    description: str | None = None
    nullable: bool | None = None
    enum: list[str] | None = None
    items: Schema | None = None
    min_items: Count | None = None
    max_items: Count | None = None
    properties: dict[str, Schema] | None = None
    required: list[str] | None = None
    property_ordering: list[str] | None = None
    min_properties: Count | None = None
    max_properties: Count | None = None
    additional_properties: bool | Schema | None = None
    min_length: Count | None = None
    max_length: Count | None = None
    pattern: str | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    any_of: list[Schema] | None = None
    default: Any = None
    example: Any = None
    defs: dict[str, Schema] | None = None
    ref: str | None = None


COUNTS = ("min_items", "max_items", "min_properties", "max_properties", "min_length", "max_length")
SAME = ("format", "title", "description", "nullable", "required", "pattern")


def json_schema(schema: Schema, place: str) -> dict[str, Any]:
    """The schema as a JSON Schema; `place` is where it stands. Refuses an `enum` whose values are not of its type."""
    written: dict[str, Any] = {}
    if schema.type is not None:
        written["type"] = schema.type.lower()
    for name in SAME:
        if (value := getattr(schema, name)) is not None:
            written[name] = value
    for name in COUNTS:
        if (value := getattr(schema, name)) is not None:
            written[alias(name)] = int(value)
    for name in ("minimum", "maximum"):
        if (value := getattr(schema, name)) is not None:
            written[name] = int(value) if value == int(value) else value
    if schema.enum is not None:
        written["enum"] = enum_values(schema, f"{place}.enum")
    if "default" in schema.model_fields_set:
        written["default"] = schema.default
    if schema.items is not None:
        written["items"] = json_schema(schema.items, f"{place}.items")
    if schema.any_of is not None:
        written["anyOf"] = [json_schema(each, f"{place}.anyOf[{n}]") for n, each in enumerate(schema.any_of)]
    if isinstance(schema.additional_properties, Schema):
        written["additionalProperties"] = json_schema(schema.additional_properties, f"{place}.additionalProperties")
    elif schema.additional_properties is not None:
        written["additionalProperties"] = schema.additional_properties
    if schema.properties is not None:
        named = {name: json_schema(each, f"{place}.properties.{name}") for name, each in schema.properties.items()}
        written["properties"] = ordered(named, schema.property_ordering or ())
    if schema.defs is not None:
        written["$defs"] = {name: json_schema(each, f"{place}.defs.{name}") for name, each in schema.defs.items()}
    if schema.ref is not None:
        written["$ref"] = schema.ref.replace("#/defs/", "#/$defs/", 1)
    return written


def alias(name: str) -> str:
    """The field's name in Google's JSON, which is JSON Schema's too."""
    return str(Schema.model_fields[name].alias)


def enum_values(schema: Schema, place: str) -> list[Any]:
    """The values of the enum, which Google writes as strings whatever their type, in the schema's own type."""
    assert schema.enum is not None
    kind = (schema.type or "").lower()
    if kind not in ("integer", "number"):
        return list(schema.enum)
    try:
        return [read_number(text, whole=kind == "integer") for text in schema.enum]
    except (ValueError, RecursionError):
        raise RequestError(f"{place!r} has values that are not of the type {schema.type!r}", place=place) from None


def read_number(text: str, *, whole: bool) -> int | float:
    """The number that JSON has in these characters, or a `ValueError`."""
    number = json.loads(text)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError(text)
    if not whole:
        return number
    if number != int(number):
        raise ValueError(text)
    return int(number)


def ordered(properties: Mapping[str, Any], names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """The properties in the order in which they shall be written; those not named come last, as they stood."""
    known = dict.fromkeys(name for name in names if name in properties)
    return {name: properties[name] for name in (*known, *properties)}
