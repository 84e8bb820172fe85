"""Whether a JSON Schema is well-formed, within limits, and complete in itself; and where its subschemas are.

The dialect is draft 2020-12, with `nullable` from OpenAPI 3.0. `read_document` refuses what is malformed, so that
nothing behind it looks at a keyword's type again. What the keywords mean is for `grammars.lowering`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from grammars.errors import SchemaRefused
from grammars.schema_document import LISTED, NAMED, ONE, Document, JsonSchema, SchemaLimits, children, step
from grammars.schema_references import check_loops, check_reference_depth, resolve

OLDER = {
    "dependencies": "it belongs to older drafts; say dependentRequired or dependentSchemas",
    "additionalItems": "it belongs to older drafts; say prefixItems and items",
    "$recursiveRef": "it belongs to draft 2019-09; say $dynamicRef",
}
"""Keywords of older drafts that draft 2020-12 would pass over in silence although their author meant a constraint."""

METASCHEMA = re.compile(r"https?://json-schema\.org/[A-Za-z0-9/_-]*schema#?")
PATTERN_OPTIONS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000, size_limit=4 << 20, dfa_size_limit=4 << 20)
"""A pattern that backtracks further fails the value it is tried on, a larger one is refused; neither hangs."""


def validator_of(schema: JsonSchema) -> jsonschema_rs.Draft202012Validator:
    """The validator for a schema: `format` asserted, nothing fetched, backtracking bounded."""
    return jsonschema_rs.Draft202012Validator(
        schema, validate_formats=True, offline=True, pattern_options=PATTERN_OPTIONS
    )


def json_of(source: object, limits: SchemaLimits) -> str:
    """The schema as JSON text with its order kept, which is also what tells schemas apart in the cache."""
    waiting: list[tuple[object, int]] = [(source, 1)]
    seen = 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > limits.size_bytes:
            raise SchemaRefused(f"larger than {limits.size_bytes} bytes of JSON", pointer="", keyword="$schema")
        if isinstance(value, Mapping | list | tuple):
            if depth > limits.depth:
                raise SchemaRefused(f"nested deeper than {limits.depth} levels", pointer="", keyword="$schema")
            inner = value.values() if isinstance(value, Mapping) else value
            waiting.extend((item, depth + 1) for item in inner)
    try:
        text = json.dumps(source, ensure_ascii=False, allow_nan=False, default=_plain)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise SchemaRefused(f"not JSON: {error}", pointer="", keyword="$schema") from error
    if size > limits.size_bytes:
        raise SchemaRefused(f"larger than {limits.size_bytes} bytes of JSON", pointer="", keyword="$schema")
    return text


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def read_document(source: JsonSchema, limits: SchemaLimits) -> Document:
    """Check the schema against its metaschema and resolve every reference. Changes `source`: `nullable` becomes null.

    Raises `SchemaRefused`: malformed keywords, references that lead nowhere or outside, regular expressions that no
    engine here reads, keywords of older drafts, too many subschemas.
    """
    if not isinstance(source, bool | dict):
        raise SchemaRefused("a schema is an object or a boolean", pointer="", keyword="type")
    _check_metaschema(source)
    for _, schema in list(_walk(source, limits)):
        _add_null(schema)
    subschemas = dict(_walk(source, limits))
    _check_keywords(subschemas, limits)
    document = Document(root=source, subschemas=subschemas, targets=resolve(source, subschemas))
    check_loops(document, limits)
    check_reference_depth(document, limits)
    return document


def _walk(root: JsonSchema, limits: SchemaLimits) -> Iterator[tuple[str, JsonSchema]]:
    waiting = [("", root)]
    count = 0
    while waiting:
        pointer, schema = waiting.pop()
        count += 1
        if count > limits.subschemas:
            raise SchemaRefused(f"more than {limits.subschemas} subschemas", pointer=pointer, keyword="$schema")
        yield pointer, schema
        waiting.extend((place, child) for _, place, child in reversed(list(children(pointer, schema))))


def _check_metaschema(source: JsonSchema) -> None:
    if isinstance(source, dict) and "$schema" in source:
        declared = source["$schema"]
        if not isinstance(declared, str) or not METASCHEMA.fullmatch(declared):
            raise SchemaRefused(f"{declared!r} is no known metaschema", pointer="", keyword="$schema")
    for error in validator_of(METASCHEMA_2020).iter_errors(source):
        pointer, keyword = _blame(source, list(error.instance_path))
        raise SchemaRefused(error.message[:500], pointer=pointer, keyword=keyword)


METASCHEMA_2020 = {"$ref": "https://json-schema.org/draft/2020-12/schema"}


def _blame(source: JsonSchema, path: list[str | int]) -> tuple[str, str]:
    """The subschema and keyword that a path into the schema document belongs to."""
    schema: Any = source
    pointer, keyword = "", "type"
    while path and isinstance(schema, dict):
        keyword = str(path.pop(0))
        taken = 0 if keyword in ONE else 1
        if keyword not in ONE | LISTED | NAMED or len(path) < taken:
            break
        inner = schema[keyword]
        names = [_take_name(inner, path)] if taken else []
        for name in names:
            inner = inner[name]
        if not path and not isinstance(inner, dict | bool):
            break
        pointer = step(pointer, keyword, *names)
        schema = inner
    return pointer, keyword


def _take_name(members: Any, path: list[str | int]) -> str | int:
    """Take from the path the name of a member. The library's paths have numbers for names of digits, and leave out
    names that are empty.
    """
    if isinstance(members, dict) and str(path[0]) not in members:
        return ""
    return str(path.pop(0)) if isinstance(members, dict) else path.pop(0)


def _add_null(schema: JsonSchema) -> None:
    """Write `nullable: true` as draft 2020-12 says it, keeping the places of all subschemas but those in `allOf`."""
    if not isinstance(schema, dict) or schema.get("nullable") is not True:
        return
    del schema["nullable"]
    null = {"type": "null"}
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = types if "null" in types else [*types, "null"]
    if "const" in schema:
        schema["enum"] = [value for value in schema.get("enum", [schema["const"]]) if value == schema["const"]]
        del schema["const"]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            schema[keyword] = [*schema[keyword], null]
    if "allOf" in schema:
        schema["allOf"] = [{"anyOf": [member, null]} for member in schema["allOf"]]
    if "$ref" in schema:
        schema.setdefault("allOf", []).append({"anyOf": [{"$ref": schema.pop("$ref")}, null]})


def _check_keywords(subschemas: Mapping[str, JsonSchema], limits: SchemaLimits) -> None:
    patterns: set[str] = set()
    for pointer, schema in subschemas.items():
        if not isinstance(schema, dict):
            continue
        for keyword, advice in OLDER.items():
            if keyword in schema:
                raise SchemaRefused(advice, pointer=pointer, keyword=keyword)
        if not isinstance(schema.get("nullable", False), bool):
            raise SchemaRefused("it is true or false", pointer=pointer, keyword="nullable")
        if pointer and "$schema" in schema and not METASCHEMA.fullmatch(schema["$schema"]):
            raise SchemaRefused(f"{schema['$schema']!r} is no known metaschema", pointer=pointer, keyword="$schema")
        found = [("patternProperties", pattern) for pattern in schema.get("patternProperties", {})]
        found += [("pattern", schema["pattern"])] if "pattern" in schema else []
        for keyword, pattern in found:
            if pattern in patterns:
                continue
            patterns.add(pattern)
            if len(patterns) > limits.patterns:
                raise SchemaRefused(f"more than {limits.patterns} patterns", pointer=pointer, keyword=keyword)
            try:
                validator_of({"pattern": pattern})
            except (jsonschema_rs.ValidationError, ValueError) as error:
                raise SchemaRefused(
                    f"not a regular expression: {pattern!r}", pointer=pointer, keyword=keyword
                ) from error
