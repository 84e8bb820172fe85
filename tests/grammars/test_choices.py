"""A choice is enforced only as far as its options are, however deep in them something is not."""

from __future__ import annotations

from typing import Any

import pytest

from grammars.choices import types_are_disjoint
from grammars.schema import read_schema

UNIQUE = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
"""Its keyword `uniqueItems` is checked on the finished value only."""


def checked(option: dict[str, Any], **definitions: Any) -> set[tuple[str, str]]:
    """What is only checked of an object that has such an option beside a plain one."""
    choice = {"anyOf": [{"type": "string"}, option]}
    schema = read_schema({"type": "object", "properties": {"a": choice}, "$defs": definitions})
    return set(schema.checked)


def test_choice_whose_options_are_enforced_is_enforced() -> None:
    assert checked({"type": "integer", "minimum": 3}) == set()


@pytest.mark.parametrize(
    ("option", "place"),
    [
        (UNIQUE, "/properties/a/anyOf/1"),
        ({"type": "object", "properties": {"b": UNIQUE}}, "/properties/a/anyOf/1/properties/b"),
        ({"$ref": "#/$defs/c"}, "/$defs/c"),
        ({"type": "array", "items": {"$ref": "#/$defs/c"}}, "/$defs/c"),
    ],
    ids=["the option", "inside it", "what it refers to", "what something inside it refers to"],
)
def test_choice_with_an_option_that_is_not_enforced_whole_is_not_either(option: dict[str, Any], place: str) -> None:
    assert checked(option, c=UNIQUE) == {(place, "uniqueItems"), ("/properties/a", "anyOf")}


@pytest.mark.parametrize(
    ("types", "disjoint"),
    [
        (["string", "integer"], True),
        (["integer", "number"], False),
        ([["string", "null"], "null"], False),
        ([["string", "null"], ["array", "boolean"]], True),
    ],
)
def test_options_exclude_one_another_where_no_value_has_the_type_of_two(types: list[Any], disjoint: bool) -> None:
    assert types_are_disjoint([{"type": kind} for kind in types]) == disjoint


def test_options_of_which_one_may_have_any_type_do_not_exclude_one_another() -> None:
    assert not types_are_disjoint([{"type": "string"}, {"minLength": 2}])
    assert types_are_disjoint([{"minLength": 2}])
