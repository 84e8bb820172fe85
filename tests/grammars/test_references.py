"""References in place of arguments: where they are allowed, to which calls, and how their numbers become ids."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grammars import references, worked_example
from grammars.constraint import Constraint
from grammars.references import calls_meant, taking_references, with_ids, with_references
from grammars.schema import read_schema
from grammars.tools import Tool
from tests.grammars.walks import accepts, walk

OWN: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer", "minimum": 0},
    "text": {"type": "string", "maxLength": 4},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}$"},
    "enum": {"enum": ["a", 1, None]},
    "list": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    "object": {
        "type": "object",
        "properties": {"x": {"type": "integer", "minimum": -9, "maximum": 9}},
        "required": ["x"],
    },
    "choice": {"oneOf": [{"type": "null"}, {"type": "boolean"}]},
    "nullable": {"type": "integer", "nullable": True},
    "definition": {"$ref": "#/$defs/size"},
}
SIZE = {"enum": ["small", "large"]}
VALUES: dict[str, list[Any]] = {
    "integer": [0, 12],
    "text": ["", "$ref"],
    "pattern": ["AB"],
    "enum": ["a", 1, None],
    "list": [[], [True, False]],
    "object": [{"x": -3}],
    "choice": [None, True],
    "nullable": [None, 5],
    "definition": ["small", "large"],
}


def schema(*names: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {name: OWN[name] for name in names}, "$defs": {"size": SIZE}, **more}


def allows(parameters: Any, earlier: list[int], text: str) -> bool:
    """The grammar and the validator, which must say the same."""
    read = read_schema(with_references(parameters, earlier))
    allowed = accepts(Constraint.schema(read.grammar), text)
    assert allowed == (not read.problems(json.loads(text)))
    return allowed


NAMES = st.lists(st.sampled_from([*OWN]), min_size=1, max_size=4, unique=True)
EARLIER = st.lists(st.integers(1, 128), min_size=1, max_size=5, unique=True)
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(NAMES, EARLIER, st.integers(0, 2**32))
def test_whatever_is_written_is_a_value_of_the_property_or_a_reference_to_an_earlier_call(
    names: list[str], earlier: list[int], seed: int
) -> None:
    widened = read_schema(with_references(schema(*names, required=names), earlier))
    text = walk(Constraint.schema(widened.grammar), seed, free_bytes=80)
    if text is None:
        return
    arguments = json.loads(text)
    assert [*arguments] == names
    for name, value in arguments.items():
        own = read_schema({**OWN[name], "$defs": {"size": SIZE}}, root="any")
        found = re.match(r"\$ref:(\d+)(#/|$)", value) if isinstance(value, str) else None
        assert not own.problems(value) or (found is not None and int(found[1]) in earlier), value


@SLOW
@given(NAMES, EARLIER, st.data())
def test_each_argument_may_be_a_value_or_a_reference_beside_any_other(
    names: list[str], earlier: list[int], data: st.DataObject
) -> None:
    arguments = {}
    for name in names:
        value = st.sampled_from(VALUES[name])
        reference = st.sampled_from(earlier).map(lambda number: f"$ref:{number}") | st.just(f"$ref:{earlier[0]}#/a/0")
        arguments[name] = data.draw(value | reference)
    widened = read_schema(with_references(schema(*names, required=names), earlier))
    assert not widened.problems(arguments)
    assert accepts(Constraint.schema(widened.grammar), widened.text(arguments))


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        ("$ref:1", "$ref:2"),
        ("$ref:3", "$ref:4"),
        ("$ref:12", "$ref:121"),
        ("$ref:1", "$ref:0"),
        ("$ref:1", "$ref:01"),
        ("$ref:1", "$ref:"),
        ("$ref:1", "$ref:one"),
        ("$ref:1", "ref:1"),
        ("$ref:1", " $ref:1"),
        ("$ref:1", "the value of $ref:1"),
        ("$ref:1#/a", "$ref:1#"),
        ("$ref:1#/a/0/b c", "$ref:1#a"),
        ("$ref:1#/a~1b~0c", "$ref:1#/a~b"),
        ("$ref:1#/ü", "$ref:1/ü"),
    ],
)
def test_references_are_whole_strings_that_name_an_earlier_call(accepted: str, refused: str) -> None:
    for text, expected in ((accepted, True), (refused, False)):
        written = json.dumps({"integer": text}, ensure_ascii=False)
        assert allows(schema("integer"), [1, 3, 12], written) is expected


def test_only_arguments_are_widened_and_not_what_is_inside_them() -> None:
    assert allows(schema("object"), [1], '{"object": "$ref:1"}')
    assert not allows(schema("object"), [1], '{"object": {"x": "$ref:1"}}')
    assert not allows(schema("list"), [1], '{"list": ["$ref:1"]}')


def test_what_the_schema_says_beside_its_properties_stays_as_it_is() -> None:
    asked = schema("integer", "text", required=["integer"], additionalProperties=False)
    assert not allows(asked, [1], '{"text": "$ref:1"}'), "required"
    assert not allows(asked, [1], '{"integer": 1, "other": "$ref:1"}')
    assert with_references(asked, [1])["properties"].keys() == asked["properties"].keys()


def test_the_first_call_can_refer_to_none() -> None:
    asked = schema("integer")
    assert with_references(asked, []) is asked
    assert not allows(asked, [], '{"integer": "$ref:1"}')


@pytest.mark.parametrize(
    "asked",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        schema("integer", patternProperties={"^int": {"maximum": 3}}),
        schema("integer", anyOf=[{"required": ["integer"]}]),
        schema("integer", allOf=[{"properties": {"integer": {"maximum": 3}}}]),
        {"$ref": "#/$defs/all", "$defs": {"all": schema("integer")}},
        {"type": "object", "properties": {"size": {"type": "integer"}, "other": {"$ref": "#/properties/size"}}},
        {"type": "object", "properties": {"value": {"type": "integer"}, "inside": {"$ref": "#"}}},
        {"type": "object", "properties": {"never": False, "any": True}},
    ],
)
def test_schemas_that_judge_their_properties_in_other_ways_are_left_alone(asked: dict[str, Any]) -> None:
    assert with_references(asked, [1, 2]) == asked


def test_a_schema_at_its_limits_is_left_alone() -> None:
    full = {f"p{number}": {"type": "string", "pattern": f"^{number}$"} for number in range(100)}
    tool = Tool(name="full", parameters={"type": "object", "properties": full})
    assert taking_references(tool, [1]) == tool
    del full["p0"]
    assert taking_references(tool, [1]).parameters != tool.parameters


ARGUMENTS = {
    "a": "$ref:1",
    "b": "$ref:12#/x/0",
    "c": "see $ref:1",
    "d": ["$ref:1"],
    "e": 1,
    "f": "$ref:5",
    "g": "$ref:1#",
}


def test_numbers_of_earlier_calls_become_their_ids_and_all_else_stays() -> None:
    assert calls_meant(ARGUMENTS, [1, 2, 12]) == [1, 12]
    named = with_ids(ARGUMENTS, {1: "call_one", 2: "call_two", 12: "call_twelve"})
    assert named == {**ARGUMENTS, "a": "$ref:call_one", "b": "$ref:call_twelve#/x/0"}
    assert [*named] == [*ARGUMENTS]


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.from_regex(r"\$ref:\d+(#.*)?"), max_size=4))
def test_without_an_earlier_call_nothing_is_a_reference(arguments: dict[str, Any]) -> None:
    assert calls_meant(arguments, []) == []
    assert with_ids(arguments, {}) == arguments


def test_the_worked_example_is_a_reference_to_its_first_line() -> None:
    assert calls_meant(worked_example.DEPENDENT.arguments, [1]) == [1]
    assert json.dumps(worked_example.DEPENDENT.arguments) in references.INSTRUCTIONS
