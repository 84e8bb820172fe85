"""Every group of the JSON-Schema-Test-Suite (draft 2020-12): refused with a place, or enforced and checked."""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grammars.constraint import Constraint
from grammars.errors import SchemaRefused
from grammars.schema import Schema, read_schema
from tests.grammars.walks import accepts, walk

SUITE = Path(__file__).parents[3] / "shared" / "data" / "json-schema-test-suite" / "draft2020-12.tar.gz"
SEEDS = range(4)

REFUSED = {
    "$schema": 4,  # metaschemas of the suite's own, which change what keywords mean
    "dependencies": 7,  # of older drafts, optional in this one
    "allOf": 2,  # the rest cannot be satisfied, or lead to what is not in the schema
    "anyOf": 1,
    "oneOf": 1,
    "enum": 1,
    "not": 2,
    "false": 1,
}
"""How many groups are refused for each keyword, `$ref` aside: its groups name other documents, or no schema."""

FORMAT_IS_ASSERTED = "format.json"
"""The file that says `format` is an annotation. For us it is an assertion, so its 19 breaches are breaches."""

CLOSED = {
    ("additionalProperties.json", "additional properties are allowed"),
    ("anyOf.json", "both anyOf valid (complex)"),
    ("not.json", "property absent"),
    ("properties.json", "doesn't invalidate other properties"),
}
"""Valid values with a name that the schema does not list."""

RARE_FORMS = {
    ("optional/ecmascript-regex.json", "zero-width whitespace matches"),  # U+FEFF is no space to the grammar
    ("optional/format/email.json", "a quoted string with a space in the local part is valid"),
    ("optional/format/email.json", "a quoted string with a double dot in the local part is valid"),
    ("optional/format/email.json", "a quoted string with a @ in the local part is valid"),
    ("optional/format/email.json", "an IPv6-address-literal after the @ is valid"),
    ("optional/format/ipv6.json", "mixed format with the ipv4 section as decimal octets"),
    ("optional/format/ipv6.json", "mixed format with double colons between the sections"),
    ("optional/format/ipv6.json", "mixed format with leading double colons (ipv4-mapped ipv6 address)"),
    ("optional/format/ipv6.json", "a long valid ipv6"),
}
"""Valid strings that the grammar of a format or pattern leaves out."""

Group = tuple[str, dict[str, Any]]


def groups() -> Iterator[Group]:
    with tarfile.open(SUITE) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                name = member.name.split("draft2020-12/")[-1]
                yield from ((name, group) for group in json.load(file))


@pytest.fixture(scope="module")
def suite() -> list[Group]:
    if not SUITE.exists():
        pytest.skip("the JSON-Schema-Test-Suite is not beside the project")
    return list(groups())


def read(group: dict[str, Any]) -> Schema | SchemaRefused:
    try:
        return read_schema(group["schema"], root="any")
    except SchemaRefused as refused:
        return refused


@pytest.fixture(scope="module")
def accepted(suite: list[Group]) -> list[tuple[str, dict[str, Any], Schema]]:
    found = [(name, group, read(group)) for name, group in suite]
    return [(name, group, schema) for name, group, schema in found if isinstance(schema, Schema)]


def has_overflow(value: Any) -> bool:
    """Whether a number of the text is beyond a double, as `1e999` is: JSON, but no value that can be handed on."""
    if isinstance(value, dict | list):
        return any(map(has_overflow, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and not math.isfinite(value)


def test_suite_is_whole(suite: list[Group]) -> None:
    assert len(suite) == 461


def test_refusals_name_a_keyword_and_a_place_in_the_schema(suite: list[Group]) -> None:
    refusals: dict[str, int] = {}
    for _, group in suite:
        if isinstance(refused := read(group), SchemaRefused):
            at = group["schema"]
            for key in refused.pointer.split("/")[1:]:
                key = key.replace("~1", "/").replace("~0", "~")
                at = at[int(key)] if isinstance(at, list) else at[key]
            assert refused.keyword == "false" if at is False else refused.keyword in at
            refusals[refused.keyword] = refusals.get(refused.keyword, 0) + 1
    assert refusals.pop("$ref") == 29
    assert refusals == REFUSED


def test_groups_that_need_remote_documents_are_refused_for_the_reference(suite: list[Group]) -> None:
    remote = [group for name, group in suite if name == "refRemote.json"]
    assert len(remote) == 15
    for group in remote:
        refused = read(group)
        assert isinstance(refused, SchemaRefused), group["description"]
        assert refused.keyword == "$ref"


def test_walks_parse_and_break_nothing_that_the_grammar_claims(
    accepted: list[tuple[str, dict[str, Any], Schema]],
) -> None:
    finished = 0
    for name, group, schema in accepted:
        checked = {keyword for _, keyword in schema.checked}
        for seed in SEEDS:
            text = walk(Constraint.schema(schema.grammar), seed)
            if text is None:
                continue
            value = json.loads(text)
            finished += 1
            problems = schema.problems(value)
            leaks = [] if has_overflow(value) else [problem for problem in problems if problem.keyword not in checked]
            assert not leaks, (name, group["description"], text, leaks)
    assert finished >= 0.95 * len(accepted) * len(SEEDS)


def test_validator_agrees_with_the_suite_on_every_instance(
    accepted: list[tuple[str, dict[str, Any], Schema]],
) -> None:
    asserted = 0
    for name, group, schema in accepted:
        for test in group["tests"]:
            problems = schema.problems(test["data"])
            if name == FORMAT_IS_ASSERTED and test["valid"] and problems:
                asserted += 1
                continue
            assert (not problems) == test["valid"], (name, group["description"], test["description"])
    assert asserted == 19


def test_canonical_text_of_valid_instances_is_allowed(accepted: list[tuple[str, dict[str, Any], Schema]]) -> None:
    narrow = set()
    written = 0
    for name, group, schema in accepted:
        for test in group["tests"]:
            if not test["valid"] or name == FORMAT_IS_ASSERTED:
                continue
            text = schema.text(test["data"])
            assert json.loads(text) == test["data"]
            written += 1
            if not accepts(Constraint.schema(schema.grammar), text):
                narrow.add((name, test["description"]))
    assert narrow == CLOSED | RARE_FORMS
    assert written > 1_000
