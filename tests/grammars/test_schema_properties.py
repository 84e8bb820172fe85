"""Generated schemas and values: no crash, no leak, and nothing valid is unwritable but for closing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from grammars.constraint import Constraint
from grammars.errors import SchemaRefused
from grammars.schema import Schema, read_schema
from tests.grammars.schema_values import from_schema
from tests.grammars.walks import accepts, walk

REPEATABLE = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)

UNWRITABLE = re.compile(r"\\u00")


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    """Schemas without schemas inside, bounds in either order: some cannot be satisfied."""
    small = st.integers(-4, 6)
    length = st.integers(0, 5)
    value = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=3), st.floats(-5, 5).map(float))
    return st.one_of(
        st.just({}),
        st.sampled_from(["null", "boolean", "string", "array", "object"]).map(lambda name: {"type": name}),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["integer", "number", ["integer", "null"]])},
            optional={
                "minimum": small,
                "maximum": small,
                "exclusiveMinimum": small,
                "exclusiveMaximum": st.sampled_from([0.5, 2, 7.25]),
                "multipleOf": st.sampled_from([1, 2, 3, 0.5, 0.01]),
                "nullable": st.booleans(),
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("string")},
            optional={
                "minLength": length,
                "maxLength": length,
                "pattern": st.sampled_from(["^[a-c]*$", "x", "^\\d{2,}", "(?=a)a|b", "^.$"]),
                "format": st.sampled_from(["uuid", "date", "ipv4", "uri", "phone", "regex"]),
            },
        ),
        st.lists(value, max_size=4).map(lambda values: {"enum": values}),
        value.map(lambda constant: {"const": constant}),
        st.booleans().map(lambda flag: {"not": {"type": "string"}} if flag else {"$ref": "#/$defs/shared"}),
    )


def inner(child: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas around schemas, every applicator among them."""
    names = st.sampled_from(["a", "b", 'q"\\', "\n", "é"])
    some = st.lists(child, min_size=1, max_size=3)
    members = st.dictionaries(names, child, max_size=3)
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("object")},
            optional={
                "properties": members,
                "required": st.lists(names, unique=True, max_size=2),
                "additionalProperties": st.one_of(st.booleans(), child),
                "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$", "^\\w$"]), child, max_size=2),
                "minProperties": st.integers(0, 2),
                "maxProperties": st.integers(0, 3),
                "propertyNames": child,
                "unevaluatedProperties": st.booleans(),
                "dependentRequired": st.just({"a": ["b"]}),
                "anyOf": some,
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("array")},
            optional={
                "items": child,
                "prefixItems": some,
                "minItems": st.integers(0, 3),
                "maxItems": st.integers(0, 3),
                "uniqueItems": st.booleans(),
                "contains": child,
                "unevaluatedItems": st.booleans(),
            },
        ),
        st.sampled_from(["anyOf", "oneOf", "allOf"]).flatmap(lambda name: some.map(lambda inside: {name: inside})),
        st.tuples(members, some).map(lambda both: {"properties": both[0], "oneOf": both[1]}),
        st.tuples(members, some).map(lambda both: {"properties": both[0], "allOf": both[1]}),
        st.tuples(child, child, child).map(lambda three: dict(zip(("if", "then", "else"), three, strict=True))),
    )


SCHEMAS = st.tuples(st.recursive(leaves(), inner, max_leaves=8), leaves()).map(
    lambda both: {**both[0], "$defs": {"shared": both[1]}}
)
"""Shared definitions may refer to themselves, which is refused."""


def read(source: Any) -> Schema | None:
    try:
        return read_schema(source, root="any")
    except SchemaRefused as refused:
        if not refused.keyword:
            raise
        return None


def check_walks(schema: Schema, seeds: range) -> None:
    checked = {keyword for _, keyword in schema.checked}
    for seed in seeds:
        text = walk(Constraint.schema(schema.grammar), seed)
        if text is None:
            continue
        problems = schema.problems(json.loads(text))
        leaks = [problem for problem in problems if problem.keyword not in checked]
        assert all("no JSON number" in leak.message for leak in leaks), (text, leaks, schema)


@settings(REPEATABLE, max_examples=700)
@example({"required": ["a"], "additionalProperties": False, "anyOf": [{}], "unevaluatedProperties": False})
@given(SCHEMAS)
def test_built_schema_is_refused_or_its_walks_break_nothing_it_claims(source: dict[str, Any]) -> None:
    schema = read(source)
    if schema is not None:
        check_walks(schema, range(2))


def schema_of_schemas(child: dict[str, Any]) -> dict[str, Any]:
    """A schema whose values are schemas, `child` describing the schemas inside them."""
    size = {"type": "integer", "minimum": 0, "maximum": 4}
    number = {"type": "number", "minimum": -3, "maximum": 9}
    several = {"type": "array", "items": child, "minItems": 1, "maxItems": 2}
    named = {"type": "object", "maxProperties": 2, "additionalProperties": child}
    scalar = {"type": ["null", "boolean", "integer", "string"]}
    return {
        "type": "object",
        "additionalProperties": False,
        "maxProperties": 4,
        "properties": {
            "type": {"enum": ["null", "boolean", "integer", "number", "string", "array", "object", ["string", "null"]]},
            "enum": {"type": "array", "items": scalar, "maxItems": 3},
            **dict.fromkeys(["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"], size),
            **dict.fromkeys(["minimum", "maximum", "exclusiveMinimum"], number),
            **dict.fromkeys(["allOf", "anyOf", "oneOf", "prefixItems"], several),
            **dict.fromkeys(["items", "contains", "not", "if", "then", "else", "additionalProperties"], child),
            **dict.fromkeys(["propertyNames", "unevaluatedItems", "unevaluatedProperties"], child),
            **dict.fromkeys(["properties", "dependentSchemas"], named),
            "required": {"type": "array", "items": {"type": "string", "maxLength": 2}, "uniqueItems": True},
            "uniqueItems": {"type": "boolean"},
            "multipleOf": {"enum": [0.1, 1, 7]},
            "title": {"type": "string"},
            "nullable": {"type": "boolean"},
        },
    }


@settings(REPEATABLE, max_examples=400)
@given(from_schema(schema_of_schemas(schema_of_schemas({"type": "boolean"}))))
def test_schema_made_from_a_schema_is_refused_or_its_walks_break_nothing_it_claims(source: Any) -> None:
    schema = read(source)
    if schema is not None:
        check_walks(schema, range(2))


def opened(source: Any) -> Any:
    """The schema with every object saying that it takes other members, so that none is closed."""
    if isinstance(source, list):
        return [opened(item) for item in source]
    if not isinstance(source, dict):
        return source
    inside = {key: item if key in ("enum", "const") else opened(item) for key, item in source.items()}
    return {"additionalProperties": True, **inside} if "properties" in inside else inside


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda child: st.one_of(
        st.lists(child, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(["a", "b", 'q"\\', "\n", "é"]), st.text()), child, max_size=3),
    ),
    max_leaves=5,
)


def assert_writable(schema: Schema, value: Any) -> None:
    """Its text is allowed, unless it has a control character in a schema that must do without `\\u` escapes."""
    text = schema.text(value)
    assert json.loads(text) == value
    if '"json_allowed_escapes"' not in schema.grammar or not UNWRITABLE.search(text):
        assert accepts(Constraint.schema(schema.grammar), text), (text, schema.grammar)


@settings(REPEATABLE, max_examples=500)
@given(SCHEMAS.map(opened), st.lists(VALUES, min_size=3, max_size=6))
def test_valid_value_of_an_open_schema_has_a_text_that_is_allowed(source: Any, values: list[Any]) -> None:
    schema = read(source)
    if schema is None:
        return
    for value in values:
        if not schema.problems(value):
            assert_writable(schema, value)


@settings(REPEATABLE, max_examples=300)
@given(SCHEMAS)
def test_text_of_what_a_walk_wrote_is_allowed_by_the_closed_schema_too(source: Any) -> None:
    schema = read(source)
    text = None if schema is None else walk(Constraint.schema(schema.grammar), 5)
    if schema is not None and text is not None:
        value = json.loads(text)
        if not schema.problems(value):
            assert_writable(schema, value)


NAME = {"type": "string", "minLength": 1, "maxLength": 8}
REALISTIC: dict[str, dict[str, Any]] = {
    "flat": {
        "type": "object",
        "properties": {
            "city": NAME,
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "unit": {"enum": ["celsius", "fahrenheit", None]},
            "step": {"type": "number", "multipleOf": 0.5, "minimum": -2, "maximum": 40},
        },
        "required": ["unit", "city"],
        "additionalProperties": False,
    },
    "nested": {
        "type": "object",
        "properties": {
            "to": {"type": "array", "items": {"type": "string", "format": "ipv4"}, "minItems": 1, "maxItems": 3},
            "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "integer"}]},
            "pair": {"type": "array", "prefixItems": [NAME, {"type": "boolean"}], "items": False, "minItems": 2},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
        },
        "required": ["to"],
        "additionalProperties": False,
    },
    "choice": {
        "type": "object",
        "oneOf": [
            {
                "properties": {"kind": {"const": kind}, field: NAME},
                "required": ["kind", field],
                "additionalProperties": False,
            }
            for kind, field in (("card", "number"), ("cash", "note"))
        ],
    },
    "patterns": {
        "type": "object",
        "properties": {"id": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}},
        "patternProperties": {"^x-": {"type": "integer"}},
        "additionalProperties": False,
    },
    "merged": {
        "type": "object",
        "allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"required": ["b"]}],
        "properties": {"b": {"type": "string"}},
        "additionalProperties": {"type": ["boolean", "integer"]},
    },
    "escapes": {"type": "object", "properties": {'q"\\\n\x01': NAME}, "required": ['q"\\\n\x01'], "maxProperties": 1},
}


@pytest.mark.parametrize("name", REALISTIC)
@settings(REPEATABLE, max_examples=60)
@given(st.data())
def test_valid_arguments_have_a_text_that_is_allowed(name: str, data: st.DataObject) -> None:
    schema = read_schema(REALISTIC[name])
    value = data.draw(ARGUMENTS[name])
    if not schema.problems(value):
        assert_writable(schema, value)


ARGUMENTS = {name: from_schema(source) for name, source in REALISTIC.items()}


@settings(REPEATABLE, max_examples=200)
@given(VALUES)
def test_any_value_without_a_schema_is_written_and_read_back(value: Any) -> None:
    schema = read_schema({}, root="any")
    assert not schema.problems(value)
    assert json.loads(schema.text(value)) == value
    assert accepts(Constraint.schema(schema.grammar), schema.text(value))
