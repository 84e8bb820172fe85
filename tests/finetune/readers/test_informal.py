from __future__ import annotations

from typing import Any

import pytest

from finetune.readers.data_rows import Unreadable
from finetune.readers.informal import informal_parameters, relaxed, schema_of_type, tool_name, typed
from grammars.tools import Tool


@pytest.mark.parametrize(
    ("said", "schema"),
    [
        ("str", {"type": "string"}),
        ("string", {"type": "string"}),
        ("str, optional", {"type": "string"}),
        ("int", {"type": "integer"}),
        ("float", {"type": "number"}),
        ("bool, optional", {"type": "boolean"}),
        ("dict", {"type": "object"}),
        ("Dict[str, int]", {"type": "object"}),
        ("list", {"type": "array"}),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("List[List[float]]", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
        ("List[Union[int, float]]", {"type": "array", "items": {"type": ["integer", "number"]}}),
        ("List[Any]", {"type": "array"}),
        ("Tuple[float, float]", {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
        ("Tuple[int, ...]", {"type": "array", "items": {"type": "integer"}}),
        ("Optional[int]", {"type": ["integer", "null"]}),
        ("Union[str, List[str]]", {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
        ("Callable[[float], float]", {}),
        ("any", {}),
        ("Datetime", {}),
    ],
)
def test_informal_type_becomes_a_schema(said: str, schema: dict[str, Any]) -> None:
    assert schema_of_type(said) == schema


def test_parameters_without_a_list_of_required_ones_need_what_is_neither_optional_nor_has_a_default() -> None:
    described = {
        "a": {"type": "str", "description": "first", "default": ""},
        "b": {"type": "int, optional", "description": "", "default": ""},
        "c": {"type": "int", "default": 3},
        "d": {"type": "int", "default": "three"},
        "e": {"type": "['string', 'null']"},
        "f": {"type": "str", "choices": ["x", "y"]},
    }
    assert informal_parameters(described) == {
        "type": "object",
        "properties": {
            "a": {"type": "string", "description": "first"},
            "b": {"type": "integer"},
            "c": {"type": "integer", "default": 3},
            "d": {"type": "integer"},
            "e": {"type": ["string", "null"]},
            "f": {"type": "string", "enum": ["x", "y"]},
        },
        "required": ["a", "e", "f"],
    }


def test_parameters_that_are_no_objects_are_refused() -> None:
    with pytest.raises(Unreadable, match="described by an object"):
        informal_parameters({"a": "str"})


def test_argument_that_a_right_call_leaves_out_is_not_required() -> None:
    tool = Tool(name="f", parameters=informal_parameters({"a": {"type": "str"}, "b": {"type": "str"}}))
    assert relaxed(tool, [("f", {"a": "x"}), ("g", {})]).parameters["required"] == ["a"]
    assert relaxed(tool, []).parameters["required"] == ["a", "b"]


SCHEMA = informal_parameters(
    {"text": {"type": "str"}, "count": {"type": "int"}, "share": {"type": "float"}, "on": {"type": "bool"}}
    | {"rows": {"type": "List[int]"}, "either": {"type": ["string", "integer"]}, "any": {"type": "any"}}
)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"count": "63"}, {"count": 63}),
        ({"count": "63.0"}, {"count": 63}),
        ({"share": "1.5"}, {"share": 1.5}),
        ({"share": "2"}, {"share": 2}),
        ({"on": "True"}, {"on": True}),
        ({"rows": "[1, 2]"}, {"rows": [1, 2]}),
        # text stays text where text is allowed, and what is no value of the type stays as it is
        ({"text": "63", "either": "63", "any": "63"}, {"text": "63", "either": "63", "any": "63"}),
        (
            {"count": "63.5", "share": "per month", "rows": "[1, 2"},
            {"count": "63.5", "share": "per month", "rows": "[1, 2"},
        ),
        ({"unknown": "63", "count": 7}, {"unknown": "63", "count": 7}),
    ],
)
def test_values_written_as_text_are_read_by_the_schema(written: dict[str, Any], read: dict[str, Any]) -> None:
    assert typed(written, SCHEMA) == read


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("get_weather", "get_weather"),
        ("math.add-2", "math.add-2"),
        ("Job Details", "Job_Details"),
        ("stock/history", "stock_history"),
        ("99TM9FHSQ68x", "_99TM9FHSQ68x"),
        ("Greatest of the '90s", "Greatest_of_the_90s"),
    ],
)
def test_name_that_no_wire_takes_gets_underscores(name: str, written: str) -> None:
    assert tool_name(name) == written


def test_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(Unreadable, match="is no name for a tool"):
        tool_name("x" * 200)
