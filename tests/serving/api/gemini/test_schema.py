"""Google's schemas as JSON Schemas: the same constraints at the same places, or a refusal."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from grammars.errors import RequestError
from grammars.schema import read_schema
from serving.api.gemini.schema import Schema, json_schema


def converted(schema: dict[str, Any]) -> dict[str, Any]:
    return json_schema(Schema.model_validate(schema), "here")


@pytest.mark.parametrize(
    ("google", "standard"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": "string"}, {"type": "string"}),
        ({}, {}),
        ({"type": "STRING", "nullable": True}, {"type": "string", "nullable": True}),
        ({"type": "STRING", "minLength": "2", "maxLength": 5}, {"type": "string", "minLength": 2, "maxLength": 5}),
        ({"type": "STRING", "max_length": "5"}, {"type": "string", "maxLength": 5}),
        ({"type": "STRING", "format": "enum", "enum": ["a"]}, {"type": "string", "format": "enum", "enum": ["a"]}),
        ({"type": "INTEGER", "enum": ["101", "7"]}, {"type": "integer", "enum": [101, 7]}),
        ({"type": "NUMBER", "enum": ["1.5"]}, {"type": "number", "enum": [1.5]}),
        ({"type": "INTEGER", "minimum": 1.0, "maximum": 9}, {"type": "integer", "minimum": 1, "maximum": 9}),
        ({"type": "NUMBER", "maximum": 0.5}, {"type": "number", "maximum": 0.5}),
        (
            {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1", "maxItems": "3"},
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
        ),
        ({"any_of": [{"type": "STRING"}, {"type": "NULL"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {"type": "OBJECT", "properties": {"any_of": {"type": "STRING"}}, "required": ["any_of"]},
            {"type": "object", "properties": {"any_of": {"type": "string"}}, "required": ["any_of"]},
        ),
        ({"additionalProperties": {"type": "BOOLEAN"}}, {"additionalProperties": {"type": "boolean"}}),
        ({"additional_properties": False}, {"additionalProperties": False}),
        (
            {"defs": {"pet": {"type": "STRING"}}, "ref": "#/defs/pet"},
            {"$defs": {"pet": {"type": "string"}}, "$ref": "#/$defs/pet"},
        ),
        ({"default": None, "title": "T", "description": "D"}, {"default": None, "title": "T", "description": "D"}),
        ({"example": "not a constraint"}, {}),
    ],
)
def test_a_schema_becomes_the_same_in_json_schema(google: dict[str, Any], standard: dict[str, Any]) -> None:
    assert converted(google) == standard
    read_schema(standard, root="any")


def test_properties_are_written_in_the_order_that_is_asked_for() -> None:
    properties = {name: {"type": "STRING"} for name in "abc"}
    schema = converted({"type": "OBJECT", "properties": properties, "propertyOrdering": ["c", "a", "unknown"]})
    assert list(schema["properties"]) == ["c", "a", "b"]


def test_null_is_valid_just_where_it_is_asked_for() -> None:
    for nullable in (True, False):
        schema = converted({"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": nullable}}})
        assert (read_schema(schema).problems({"a": None}) == []) is nullable


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "INTEGER", "enum": ["one"]}, "here.enum"),
        ({"properties": {"a": {"items": {"type": "NUMBER", "enum": ["x"]}}}}, "here.properties.a.items.enum"),
        ({"anyOf": [{}, {"type": "INTEGER", "enum": [""]}]}, "here.anyOf[1].enum"),
        ({"type": "INTEGER", "enum": ["1.5"]}, "here.enum"),
        ({"type": "NUMBER", "enum": ["true"]}, "here.enum"),
        ({"type": "NUMBER", "enum": ["NaN"]}, "here.enum"),
        ({"type": "NUMBER", "enum": ["1e400"]}, "here.enum"),
        ({"type": "NUMBER", "enum": ["1" * 5000]}, "here.enum"),
        ({"type": "NUMBER", "enum": ["[" * 100_000]}, "here.enum"),
    ],
)
def test_values_of_another_type_than_the_schemas_are_refused(schema: dict[str, Any], place: str) -> None:
    with pytest.raises(RequestError) as caught:
        converted(schema)
    assert caught.value.place == place


def test_what_google_and_json_schema_both_know_is_valid_for_the_same_values() -> None:
    schema = converted(
        {
            "type": "OBJECT",
            "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER", "minimum": 1}},
            "required": ["city"],
        }
    )
    valid = jsonschema_rs.validator_for(schema).is_valid
    assert valid({"city": "Bern", "days": 1})
    assert not valid({"days": 1})
    assert not valid({"city": "Bern", "days": 0})
