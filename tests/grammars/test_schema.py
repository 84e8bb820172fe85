"""What each keyword allows and refuses, where objects are closed, what is refused, and how values are written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grammars.constraint import Constraint
from grammars.errors import SchemaRefused
from grammars.schema import Problem, SchemaLimits, read_schema
from tests.grammars.walks import accepts, refused_at

OPEN_A = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": True}
TREE = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/tree"}},
    "required": ["v"],
}

# schema, an allowed text, a refused text, how many bytes of it are taken
TABLE: dict[str, tuple[Any, str, str, int]] = {
    "type": ({"type": "integer"}, "12", "1.5", 1),
    "type list": ({"type": ["boolean", "null"]}, "null", "nil", 1),
    "nullable": ({"type": "string", "nullable": True}, "null", "no", 1),
    "nullable enum": ({"enum": ["a"], "nullable": True}, "null", '"b"', 1),
    "nullable reference": (
        {"$ref": "#/$defs/s", "nullable": True, "$defs": {"s": {"type": "string"}}},
        "null",
        "1",
        0,
    ),
    "properties": ({"properties": {"a": {"type": "null"}}, "type": "object"}, '{"a": null}', '{"a": 1}', 6),
    "property order": ({"properties": {"b": {}, "a": {}}, "type": "object"}, '{"b": 1, "a": 2}', '{"a": 2, "b": 1}', 7),
    "optional before required": (
        {"type": "object", "properties": {"o": {}, "r": {}}, "required": ["r"]},
        '{"o": 1, "r": 2}',
        '{"o": 1}',
        7,
    ),
    "additionalProperties": (OPEN_A, '{"a": 1, "z": []}', '{"z": 1, "a": 1}', 11),
    "additionalProperties schema": (
        {"type": "object", "additionalProperties": {"type": "boolean"}},
        '{"x": true}',
        '{"x": 1}',
        6,
    ),
    "patternProperties": (
        {"type": "object", "patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False},
        '{"xy": null}',
        '{"y": null}',
        2,
    ),
    "maxProperties": ({"type": "object", "maxProperties": 1}, '{"a": 1}', '{"a": 1, "b": 2}', 7),
    "items": ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", '["a"]', 1),
    "prefixItems": (
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "null"}},
        '["a", null]',
        '["a", 1]',
        6,
    ),
    "minItems": ({"type": "array", "minItems": 2}, "[1, 2]", "[1]", 2),
    "maxItems": ({"type": "array", "maxItems": 1}, "[1]", "[1, 2]", 2),
    "unevaluatedItems": ({"type": "array", "prefixItems": [{}], "unevaluatedItems": False}, "[1]", "[1, 2]", 2),
    "enum": ({"enum": ["on", 3, None, [1, {"k": 2}]]}, '[1, {"k": 2}]', '[1, {"k": 3}]', 10),
    "enum beside bounds": ({"enum": [1, 5, "x"], "minimum": 3}, "5", "1", 0),
    "const": ({"const": "ab"}, '"ab"', '"ac"', 2),
    "anyOf": ({"anyOf": [{"type": "integer"}, {"const": "all"}]}, '"all"', '"any"', 2),
    "oneOf": ({"oneOf": [{"type": "integer"}, {"const": "all"}]}, "7", "true", 0),
    "allOf": ({"allOf": [{"type": "integer"}, {"minimum": 5}, {"maximum": 6}]}, "6", "7", 0),
    "$ref": ({"$ref": "#/$defs/tree", "$defs": {"tree": TREE}}, '{"v": 1, "next": {"v": 2}}', '{"next": {}}', 2),
    "$anchor": ({"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "null"}}}, "null", "1", 0),
    "$id": ({"$ref": "urn:a:b", "$defs": {"x": {"$id": "urn:a:b", "type": "null"}}}, "null", "1", 0),
    "definitions": ({"$ref": "#/definitions/x~1y", "definitions": {"x/y": {"type": "null"}}}, "null", "1", 0),
    "minimum": ({"type": "integer", "minimum": 10}, "10", "9,", 1),
    "exclusiveMaximum": ({"type": "number", "exclusiveMaximum": 1, "minimum": 0}, "0.99", "1", 0),
    "multipleOf": ({"type": "number", "multipleOf": 0.5}, "1.5", "1.25", 2),
    "minLength": ({"type": "string", "minLength": 2}, '"é\\n"', '"é"', 3),
    "maxLength": ({"type": "string", "maxLength": 1}, '"é"', '"ab"', 2),
    "pattern": ({"type": "string", "pattern": "^[a-f]+$"}, '"face"', '"fax"', 3),
    "pattern unanchored": ({"type": "string", "pattern": "b"}, '"abc"', '"ac"', 3),
    "format": ({"type": "string", "format": "date"}, '"2024-02-29"', '"2024-13-01"', 7),
    "boolean": ({"type": "object", "properties": {"a": True, "b": False}}, '{"a": [{}]}', '{"b": 1}', 2),
    "annotations": (
        {"title": "t", "default": 1, "examples": ["x"], "deprecated": True, "x-order": 3, "strange": 1, "type": "null"},
        "null",
        "1",
        0,
    ),
    "separators": ({"type": "object"}, '{"a": 1, "b": [1, 2]}', '{"a":1}', 5),
}


@pytest.mark.parametrize("keyword", TABLE)
def test_keyword_allows_and_refuses_at_its_place(keyword: str) -> None:
    source, allowed, refused, taken = TABLE[keyword]
    schema = read_schema(source, root="any")
    constraint = Constraint.schema(schema.grammar)
    assert refused_at(constraint, allowed) is None
    assert not schema.problems(json.loads(allowed))
    assert schema.text(json.loads(allowed)) == allowed
    assert refused_at(constraint, refused) == taken


# schema, a value that the grammar lets through, the pointer in the value, the keyword of `checked` and of the problem
CHECKED: dict[str, tuple[Any, Any, str, str]] = {
    "not": ({"not": {"type": "string"}}, "x", "", "not"),
    "then": ({"if": {"type": "integer"}, "then": {"minimum": 3}}, 2, "", "then"),
    "else": ({"if": {"type": "integer"}, "else": {"type": "string"}}, None, "", "else"),
    "uniqueItems": ({"type": "array", "uniqueItems": True}, [1, 1], "", "uniqueItems"),
    "contains": ({"type": "array", "contains": {"const": 1}}, [2], "", "contains"),
    "dependentRequired": ({"type": "object", "dependentRequired": {"a": ["b"]}}, {"a": 1}, "", "dependentRequired"),
    "dependentSchemas": ({"type": "object", "dependentSchemas": {"a": False}}, {"a": 1}, "", "dependentSchemas"),
    "propertyNames": ({"type": "object", "propertyNames": {"maxLength": 1}}, {"ab": 1}, "", "propertyNames"),
    "minProperties": ({"type": "object", "minProperties": 2_000}, {"a": 1}, "", "minProperties"),
    "oneOf": ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, 3, "", "oneOf"),
    "unevaluatedProperties": (
        {"type": "object", "anyOf": [{"properties": {"a": {}}}], "unevaluatedProperties": {"type": "string"}},
        {"z": 1},
        "/z",
        "unevaluatedProperties",
    ),
    "format": ({"type": "string", "format": "date"}, "2023-02-29", "", "format"),
    "lookahead": ({"type": "string", "pattern": "^(?!a)"}, "a", "", "pattern"),
    "maxItems": (
        {"type": "object", "properties": {"a": {"maxItems": 100_000}}},
        {"a": [0] * 100_001},
        "/a",
        "maxItems",
    ),
    "choice": ({"anyOf": [{"type": "array", "uniqueItems": True}, {"type": "null"}]}, [1, 1], "", "anyOf"),
    "long integer": ({"type": "integer", "minimum": 2**60 + 1}, 2**60, "", "minimum"),
}


@pytest.mark.parametrize("name", CHECKED)
def test_what_the_grammar_cannot_see_is_listed_and_found_in_the_finished_value(name: str) -> None:
    source, value, pointer, keyword = CHECKED[name]
    schema = read_schema(source, root="any")
    assert keyword in {checked for _, checked in schema.checked}
    if len(str(value)) < 1_000:
        assert accepts(Constraint.schema(schema.grammar), schema.text(value))
    if name != "unevaluatedProperties":
        assert [(problem.pointer, problem.keyword) for problem in schema.problems(value)] == [(pointer, keyword)]
    else:
        assert keyword in {problem.keyword for problem in schema.problems(value)}


# schema, value inside the list, value outside it, whether the grammar allows the latter
CLOSING: dict[str, tuple[Any, Any, Any, bool]] = {
    "listed": ({"properties": {"a": {}}}, {"a": 1}, {"z": 1}, False),
    "nothing listed": ({"type": "object"}, {}, {"z": 1}, True),
    "said to be open": ({"properties": {"a": {}}, "additionalProperties": {}}, {"a": 1}, {"z": 1}, True),
    "patterns said": ({"properties": {"a": {}}, "patternProperties": {"^p": {}}}, {"a": 1}, {"z": 1}, True),
    "required beside": ({"properties": {"a": {}}, "required": ["b"]}, {"a": 1, "b": 1}, {"b": 1, "z": 1}, False),
    "allOf members": (
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
        {"a": 1, "b": 2},
        {"z": 1},
        False,
    ),
    "allOf with an open member": (
        {"allOf": [{"properties": {"a": {}}}, {"additionalProperties": {}}]},
        {"a": 1},
        {"z": 1},
        True,
    ),
    "anyOf beside properties": (
        {"properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
        {"a": 1, "b": 1},
        {"a": 1, "z": 1},
        False,
    ),
    "anyOf of objects": (
        {"anyOf": [{"properties": {"a": {}}, "type": "object"}, {"properties": {"b": {}}, "type": "object"}]},
        {"b": 1},
        {"a": 1, "b": 1},
        False,
    ),
    "reference beside properties": (
        {"$ref": "#/$defs/x", "properties": {"a": {}}, "$defs": {"x": {"properties": {"b": {}}}}},
        {"a": 1, "b": 2},
        {"z": 1},
        False,
    ),
    "then": ({"properties": {"a": {}}, "if": {}, "then": {"properties": {"b": {}}}}, {"a": 1, "b": 1}, {"z": 1}, False),
    "member described once": (
        {"allOf": [{"properties": {"o": {"properties": {"a": {}}}}}, {"required": ["o"]}]},
        {"o": {"a": 1}},
        {"o": {"z": 1}},
        True,
    ),
    "member described twice": (
        {
            "properties": {"o": {"properties": {"a": {}}}},
            "allOf": [{"properties": {"o": {"properties": {"b": {}}}}}],
        },
        {"o": {"a": 1, "b": 1}},
        {"o": {"a": 1, "z": 1}},
        True,
    ),
}


@pytest.mark.parametrize("name", CLOSING)
def test_object_is_closed_exactly_where_its_names_are_listed(name: str) -> None:
    source, inside, outside, allowed = CLOSING[name]
    schema = read_schema(source)
    constraint = Constraint.schema(schema.grammar)
    assert accepts(constraint, schema.text(inside))
    assert not schema.problems(outside), "closing is for decoding; the value is valid"
    assert accepts(constraint, schema.text(outside)) is allowed


# schema, pointer, keyword
REFUSED: dict[str, tuple[Any, str, str]] = {
    "root type": ({"type": "string"}, "", "type"),
    "root false": (False, "", "false"),
    "unknown type": ({"properties": {"a": {"type": "dict"}}}, "/properties/a", "type"),
    "required inside a property": (
        {"properties": {"a": {"type": "string", "required": True}}},
        "/properties/a",
        "required",
    ),
    "property is no schema": ({"properties": {"a": "string"}}, "", "properties"),
    "properties is no object": ({"properties": ["a"]}, "", "properties"),
    "negative length": ({"properties": {"a/b": {"minLength": -1}}}, "/properties/a~1b", "minLength"),
    "name of digits": ({"properties": {"0": {"type": 5}}}, "/properties/0", "type"),
    "empty name": ({"properties": {"": {"type": 5}, "a": {}}}, "/properties/", "type"),
    "empty names in each other": (
        {"properties": {"": {"properties": {"": {"minLength": "x"}}}}},
        "/properties//properties/",
        "minLength",
    ),
    "nullable": ({"properties": {"a": {"nullable": "yes"}}}, "/properties/a", "nullable"),
    "older draft": ({"dependencies": {"a": ["b"]}}, "", "dependencies"),
    "items list": ({"properties": {"a": {"items": [{}]}}}, "/properties/a", "items"),
    "regular expression": ({"properties": {"a": {"pattern": "("}}}, "/properties/a", "pattern"),
    "pattern of names": ({"patternProperties": {"[": {}}}, "", "patternProperties"),
    "remote reference": ({"properties": {"a": {"$ref": "https://example.com/s"}}}, "/properties/a", "$ref"),
    "reference to nowhere": ({"$ref": "#/$defs/x"}, "", "$ref"),
    "reference to no schema": ({"$ref": "#/examples/0", "examples": [{}]}, "", "$ref"),
    "reference to itself": ({"$ref": "#"}, "", "$ref"),
    "metaschema": ({"$schema": "https://example.com/meta"}, "", "$schema"),
    "endless": ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "", "properties"),
    "unsatisfiable": (
        {"properties": {"a": {"type": "integer", "minimum": 2, "maximum": 1}}, "required": ["a"]},
        "/properties/a",
        "minimum",
    ),
    "unsatisfiable member": ({"properties": {"a": False}, "required": ["a"]}, "", "properties"),
    "not JSON": ({"default": float("nan")}, "", "$schema"),
    "not JSON either": ({"default": {1, 2}}, "", "$schema"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_schema_that_cannot_be_honoured_is_refused_with_its_place(name: str) -> None:
    source, pointer, keyword = REFUSED[name]
    with pytest.raises(SchemaRefused) as refused:
        read_schema(source)
    assert (refused.value.pointer, refused.value.keyword) == (pointer, keyword)
    assert refused.value.reason


def test_limits_are_the_callers_to_set() -> None:
    source = {"properties": {"a": {"type": "string", "pattern": "^a$"}}}
    read_schema(source)
    for limits in (
        SchemaLimits(depth=2),
        SchemaLimits(size_bytes=30),
        SchemaLimits(subschemas=1),
        SchemaLimits(patterns=0),
    ):
        with pytest.raises(SchemaRefused):
            read_schema(source, limits=limits)


def test_schema_is_read_once_for_the_same_json_and_keeps_the_source_as_sent() -> None:
    source = {"properties": {"a": {"type": "string", "nullable": True}}}
    schema = read_schema(source)
    assert read_schema(json.loads(json.dumps(source))) is schema
    assert schema.source == source
    assert read_schema(source, root="any") is not schema


def test_root_is_an_object_even_where_the_schema_does_not_say_so() -> None:
    for source in (True, {}, {"properties": {"a": {}}}, {"anyOf": [{"type": "string"}, {"type": "object"}]}):
        schema = read_schema(source)
        assert not accepts(Constraint.schema(schema.grammar), '"a"')
        assert accepts(Constraint.schema(schema.grammar), "{}")
        assert schema.problems("a") == [Problem(pointer="", keyword="type", message="the value is not an object")]


def test_name_cannot_be_written_twice_by_way_of_an_escape() -> None:
    constraint = Constraint.schema(read_schema(OPEN_A).grammar)
    assert accepts(constraint, '{"a": 1}')
    assert not accepts(constraint, '{"\\u0061": "no integer"}')


@pytest.mark.parametrize("name", ['q"', "\\", "\n", "\x01", "\x7f", "é", "😀", "", " "])
def test_any_text_is_a_property_name(name: str) -> None:
    schema = read_schema({"properties": {name: {"const": name}}, "required": [name]})
    assert accepts(Constraint.schema(schema.grammar), schema.text({name: name}))
    assert not accepts(Constraint.schema(schema.grammar), schema.text({name: name + "x"}))


NUMBERS = [
    (1, "1"),
    (1.0, "1"),
    (-0.0, "0"),
    (0.1, "0.1"),
    (1e-7, "0.0000001"),
    (1e22, "1" + "0" * 22),
    (2.5e-3, "0.0025"),
]


@pytest.mark.parametrize(("number", "text"), NUMBERS)
def test_number_is_written_without_exponent(number: float, text: str) -> None:
    assert read_schema({}, root="any").text(number) == text


def test_text_follows_the_option_that_holds() -> None:
    schema = read_schema(
        {
            "oneOf": [
                {"properties": {"k": {"const": 1}, "x": {}, "y": {}}, "required": ["k"]},
                {"properties": {"k": {"const": 2}, "y": {}, "x": {}}, "required": ["k"]},
            ]
        }
    )
    for kind, text in ((1, '{"k": 1, "x": 0, "y": 0}'), (2, '{"k": 2, "y": 0, "x": 0}')):
        assert schema.text({"x": 0, "y": 0, "k": kind}) == text
        assert accepts(Constraint.schema(schema.grammar), text)


def test_decimal_multiples_are_judged_as_written() -> None:
    schema = read_schema({"multipleOf": 0.01}, root="any")
    assert not schema.problems(19.99)
    assert schema.problems(19.999)


def test_numbers_beyond_a_double_are_a_problem_although_the_grammar_can_write_them() -> None:
    schema = read_schema({"type": "object", "additionalProperties": {"type": "number"}})
    assert accepts(Constraint.schema(schema.grammar), '{"a": 1e999}')
    assert [problem.keyword for problem in schema.problems({"a": float("inf")})] == ["type"]
