"""Schemas and values made to be slow, large or deep: each is refused or bounded, and costs about a second at most."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from grammars.constraint import Constraint
from grammars.errors import SchemaRefused
from grammars.schema import read_schema
from tests.grammars.walks import prototype

BUDGET_S = 1.5
"""Most take milliseconds. Measured as processor time of the thread, so that a busy machine fails nothing."""


def nested(depth: int, around: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = around(schema)
    return schema


def chain(length: int, link: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    links = {f"a{index}": link(f"#/$defs/a{index + 1}") for index in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**links, f"a{length}": {"type": "object"}}}


def options(count: int) -> list[dict[str, Any]]:
    return [{"properties": {f"p{i}": {"const": i}}, "required": [f"p{i}"]} for i in range(count)]


def a(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}}


ACCEPTED: dict[str, Any] = {
    "long text": a({"type": "string", "maxLength": 10**9, "minLength": 10**9}),
    "many items": a({"type": "array", "maxItems": 10**9, "minItems": 10**8}),
    "more items than fit a word": a({"minItems": 10**30, "maxItems": 10**31}),
    "many members": {"type": "object", "minProperties": 10**9, "maxProperties": 10**9},
    "items in items": a({"minItems": 1000, "items": {"minItems": 1000, "items": {"maxItems": 1000, "type": "array"}}}),
    "lists as long as may be": {
        "type": "object",
        "properties": {f"p{i}": {"type": "array", "maxItems": 1000, "items": {"enum": [i]}} for i in range(700)},
    },
    "huge bound": a({"minimum": 10**4000, "const": 10**4000}),
    "tiny bound": a({"type": "number", "minimum": 1e-300, "maximum": 1e-299}),
    "remainders": a({"type": "integer", "multipleOf": 4_294_967}),
    "tiny multiple": a({"multipleOf": 1e-300}),
    "remainders multiplied": a({"anyOf": [{"type": "integer", "multipleOf": 900 + i} for i in range(5)]}),
    "choices multiplied": {"type": "object", "allOf": [{"anyOf": options(10)} for _ in range(20)]},
    "choices just under the bound": {"type": "object", "allOf": [{"anyOf": options(16)}, {"anyOf": options(15)}]},
    "backtracking": a({"type": "string", "pattern": "^(a+)+$"}),
    "states": a({"type": "string", "pattern": "(a|b)*a(a|b){500}$"}),
    "states in a choice": a(
        {"anyOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{20 + i}}}c$"} for i in range(90)]}
    ),
    "lookahead": a({"type": "string", "pattern": "(?=.*a)(?=.*b)^(a|aa)+$"}),
    "many patterns": {"type": "object", "patternProperties": {f"^(.*a){{9}}.{{{9 + i}}}b$": {} for i in range(60)}},
    "many names": {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1500)}},
    "many names, open": {"properties": {f"p{i}": {} for i in range(1500)}, "additionalProperties": True},
    "many options": a({"anyOf": [a({"const": i}) for i in range(600)]}),
    "many values": a({"enum": [f"value number {i}" for i in range(3000)]}),
    "many members in one place": {"allOf": [{"properties": {f"a{j}": True}} for j in range(900)]},
    "long name": {"type": "object", "properties": {"x" * 60_000: {}}},
    "doubled a level": {
        "$ref": "#/$defs/n",
        "$defs": {"n": a({"allOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]})},
    },
}

REFUSED: dict[str, Any] = {
    "deep": nested(100_000, a),
    "deep in place": nested(60, lambda schema: {"allOf": [schema]}),
    "long chain": chain(1400, lambda reference: {"$ref": reference}),
    "long chain of members": chain(600, lambda reference: a({"$ref": reference})),
    "doubled chain": chain(40, lambda reference: {"allOf": [{"$ref": reference}, {"$ref": reference}]}),
    "doubled choice": chain(40, lambda reference: {"anyOf": [{"$ref": reference}, {"$ref": reference}]}),
    "doubled negation": chain(40, lambda reference: {"not": {"allOf": [{"$ref": reference}, {"$ref": reference}]}}),
    "large": a({"enum": ["x" * 70_000]}),
    "many subschemas": {"type": "object", "properties": {f"p{i}": {} for i in range(3000)}},
    "many different patterns": {"properties": {f"p{i}": {"pattern": f"^{i}$"} for i in range(101)}},
    "large pattern": a({"pattern": "((a{1,100}){1,100}){1,100}"}),
    "deep pattern": a({"pattern": "(" * 500 + "a" + ")" * 500}),
    "endless": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
}


def cost_s(work: Callable[[], object]) -> float:
    """What the work takes of its own thread: neither what other tests left running, nor clearing up after them."""
    gc.disable()
    started = time.thread_time()
    try:
        work()
        return time.thread_time() - started
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ACCEPTED)
def test_hostile_schema_that_is_accepted_costs_little_and_makes_a_grammar(name: str) -> None:
    assert cost_s(lambda: read_schema(ACCEPTED[name])) < BUDGET_S
    schema = read_schema(ACCEPTED[name])
    assert not prototype(Constraint.schema(schema.grammar).lark).is_error()


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_schema_is_refused_at_little_cost(name: str) -> None:
    def read() -> None:
        with pytest.raises(SchemaRefused) as refused:
            read_schema(REFUSED[name])
        assert refused.value.keyword

    assert cost_s(read) < BUDGET_S


def test_source_that_contains_itself_is_refused() -> None:
    source: dict[str, Any] = {}
    source["properties"] = {"a": source}
    with pytest.raises(SchemaRefused):
        read_schema(source)


def tall(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_value_whose_check_would_double_with_every_level_is_a_problem_at_once() -> None:
    schema = read_schema(ACCEPTED["doubled a level"])
    assert not schema.problems(tall(8))
    assert cost_s(lambda: schema.problems(tall(60))) < BUDGET_S
    assert [problem.keyword for problem in schema.problems(tall(60))] == ["type"]


def test_deep_value_is_a_problem_in_a_thread_with_any_chain_that_is_accepted() -> None:
    source = chain(14, lambda reference: {"allOf": [{"$ref": reference}, True]})
    source["$defs"]["a14"] = a({"$ref": "#/$defs/a0"})
    found: list[list[Any]] = []
    schema = read_schema(source)
    thread = threading.Thread(target=lambda: found.extend([schema.problems(tall(126)), schema.problems(tall(5_000))]))
    thread.start()
    thread.join()
    assert not found[0]
    assert len(found[1]) == 1


def test_pattern_that_backtracks_without_end_is_a_problem_and_not_a_hang() -> None:
    schema = read_schema(a({"type": "string", "pattern": r"^(?=(a+)+$)(a|aa)+\1$"}))
    assert cost_s(lambda: schema.problems({"a": "a" * 200 + "b"})) < BUDGET_S
    assert schema.problems({"a": "a" * 200 + "b"})
