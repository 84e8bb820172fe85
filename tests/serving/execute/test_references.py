"""References: typed values in place of `$ref:` strings, put there once, and never read again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.execute.references import MARK, MissingValue, Reference, read_reference, references_in, substituted

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
NOT_A_REFERENCE = JSON.filter(lambda value: MARK not in json.dumps(value))

DOCUMENT = {
    "id": 7,
    "owner": {"name": "Ada", "tags": ["x", "y"]},
    "a/b": 1,
    "m~n": 2,
    "": 3,
    " ": 4,
    "~1": 5,
    "none": None,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/id", 7),
        ("/owner", {"name": "Ada", "tags": ["x", "y"]}),
        ("/owner/tags/1", "y"),
        ("/a~1b", 1),
        ("/m~0n", 2),
        ("/", 3),
        ("/ ", 4),
        ("/~01", 5),
        ("/none", None),
    ],
)
def test_pointer_finds_the_value_with_its_type(pointer: str, value: Any) -> None:
    for text in (f"$ref:c#{pointer}", "$ref:c") if not pointer else (f"$ref:c#{pointer}",):
        found = substituted({"argument": text}, {"c": DOCUMENT})["argument"]
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    "pointer",
    ["id", "/nobody", "/owner/tags/2", "/owner/tags/01", "/owner/tags/-1", "/owner/tags/-", "/owner/tags/²", "/id/0"],
)
def test_pointer_to_nothing_is_said(pointer: str) -> None:
    with pytest.raises(MissingValue, match="JSON pointer" if pointer == "id" else "has nothing at"):
        substituted({"argument": f"$ref:c#{pointer}"}, {"c": DOCUMENT})


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("$ref:call_1", Reference(call_id="call_1")),
        ("$ref:call_1#", Reference(call_id="call_1")),
        ("$ref:call_1#/a#b", Reference(call_id="call_1", pointer="/a#b")),
        ("$ref:", Reference(call_id="")),
        (" $ref:call_1", None),
        ("see $ref:call_1", None),
        ("$REF:call_1", None),
        ("$1", None),
        ("", None),
        (7, None),
        (None, None),
    ],
)
def test_only_a_whole_string_that_begins_with_the_mark_is_a_reference(text: Any, reference: Reference | None) -> None:
    assert read_reference(text) == reference


def test_references_are_found_however_deep_and_never_in_names() -> None:
    arguments = {"a": ["$ref:one", {"b": ["$ref:two#/x"]}], "$ref:three": "text", "c": "$ref:one"}
    assert [found.call_id for found in references_in(arguments)] == ["one", "two", "one"]


@given(NOT_A_REFERENCE)
def test_arguments_without_references_stay_as_they_are(value: Any) -> None:
    assert list(references_in(value)) == []
    assert substituted(value, {}) == value


@given(JSON, st.text(max_size=8))
def test_what_replaces_a_reference_is_never_read_for_references(result: Any, text: str) -> None:
    poisoned = {"said": f"$ref:secret{text}", "nested": [f"$ref:secret#/{text}", result]}
    found = substituted({"a": "$ref:c", "b": ["$ref:c#/said"]}, {"c": poisoned, "secret": "42"})
    assert found == {"a": poisoned, "b": [poisoned["said"]]}
