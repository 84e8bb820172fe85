"""Whether a JSON Schema is well-formed, within limits, and complete in itself; and where its subschemas are.

The dialect is draft 2020-12, with `nullable` from OpenAPI 3.0. `read_document` refuses what is malformed, so that
nothing behind it looks at a keyword's type again. What the keywords mean is for `grammars.lowering`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource, Unresolvable
from referencing.jsonschema import DRAFT202012

from grammars.errors import SchemaRefused


def words(text: str) -> frozenset[str]:
    """The words of a text, which here are keywords."""
    return frozenset(text.split())


ONE = words(
    "additionalProperties items contains not if then else propertyNames unevaluatedItems unevaluatedProperties "
    "contentSchema"
)
LISTED = words("allOf anyOf oneOf prefixItems")
NAMED = words("properties patternProperties $defs definitions dependentSchemas")
"""The keywords that hold subschemas: one, a list, or a map of them."""

OLDER = {
    "dependencies": "it belongs to older drafts; say dependentRequired or dependentSchemas",
    "additionalItems": "it belongs to older drafts; say prefixItems and items",
    "$recursiveRef": "it belongs to draft 2019-09; say $dynamicRef",
}
"""Keywords of older drafts that draft 2020-12 would pass over in silence although their author meant a constraint."""

METASCHEMA = re.compile(r"https?://json-schema\.org/[A-Za-z0-9/_-]*schema#?")
PATTERN_OPTIONS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000, size_limit=4 << 20, dfa_size_limit=4 << 20)
"""A pattern that backtracks further fails the value it is tried on, a larger one is refused; neither hangs."""

JsonSchema = bool | dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SchemaLimits:
    """What one schema may cost. `depth` counts nested JSON containers, `size_bytes` the schema as JSON text.

    `in_place_depth` is how long a chain of schemas may look at one value, `reference_depth` how deep subschemas may lie
    when references are followed: both libraries recurse on their stack, which ends the process where it ends.
    """

    depth: int = 64
    size_bytes: int = 64 * 1024
    subschemas: int = 2_000
    patterns: int = 100
    reference_depth: int = 128
    in_place_depth: int = 32


@dataclass(frozen=True, kw_only=True)
class Document:
    """A well-formed schema: its subschemas by JSON pointer, and for each `$ref` the pointer of its target."""

    root: JsonSchema
    subschemas: Mapping[str, JsonSchema]
    targets: Mapping[str, str]


def validator_of(schema: JsonSchema) -> jsonschema_rs.Draft202012Validator:
    """The validator for a schema: `format` asserted, nothing fetched, backtracking bounded."""
    return jsonschema_rs.Draft202012Validator(
        schema, validate_formats=True, offline=True, pattern_options=PATTERN_OPTIONS
    )


def step(pointer: str, *keys: object) -> str:
    """The JSON pointer (RFC 6901) that goes on from `pointer` by these keys."""
    return pointer + "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def children(pointer: str, schema: JsonSchema) -> Iterator[tuple[str, str, Any]]:
    """The places directly below a schema where subschemas stand: (keyword, pointer, whatever is there)."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in ONE:
            yield keyword, step(pointer, keyword), value
        elif keyword in LISTED and isinstance(value, list):
            yield from ((keyword, step(pointer, keyword, index), item) for index, item in enumerate(value))
        elif keyword in NAMED and isinstance(value, dict):
            yield from ((keyword, step(pointer, keyword, name), item) for name, item in value.items())


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
    document = Document(root=source, subschemas=subschemas, targets=_resolve(source, subschemas))
    _check_loops(document, limits)
    _check_reference_depth(document, limits)
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
        for key in path[:taken]:
            inner = inner[key]
        if not path[taken:] and not isinstance(inner, dict | bool):
            break
        pointer = step(pointer, keyword, *path[:taken])
        path, schema = path[taken:], inner
    return pointer, keyword


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


def _resolve(root: JsonSchema, subschemas: Mapping[str, JsonSchema]) -> dict[str, str]:
    resource: Resource[Any] = DRAFT202012.create_resource(root)
    uri = resource.id() or ""
    registry: Registry[Any] = Registry().with_resource(uri, resource).crawl()
    resolvers = {"": registry.resolver(uri)}
    places = {id(schema): pointer for pointer, schema in subschemas.items() if isinstance(schema, dict)}
    targets = {}
    for pointer, schema in subschemas.items():
        resolver = resolvers[pointer]
        for _, place, child in children(pointer, schema):
            inner = isinstance(child, dict) and "$id" in child
            resolvers[place] = resolver.in_subresource(DRAFT202012.create_resource(child)) if inner else resolver
        if not isinstance(schema, dict):
            continue
        for keyword in ("$ref", "$dynamicRef"):
            if keyword not in schema:
                continue
            reference = schema[keyword]
            try:
                found = resolver.lookup(reference).contents
            except (Unresolvable, NoSuchResource, ValueError) as error:
                raise SchemaRefused(
                    f"{reference!r} leads nowhere in this schema", pointer=pointer, keyword=keyword
                ) from error
            if isinstance(found, bool):
                targets[step(pointer, keyword)] = "true" if found else "false"
            elif id(found) in places:
                targets[step(pointer, keyword)] = places[id(found)]
            else:
                raise SchemaRefused(f"{reference!r} leads to no schema", pointer=pointer, keyword=keyword)
    return targets


IN_PLACE = words("allOf anyOf oneOf not if then else dependentSchemas")
"""The keywords whose subschemas look at the same value as the schema that they stand in."""


def in_place(document: Document, pointer: str) -> Iterator[tuple[str, str]]:
    """The subschemas that look at the same value as the one at `pointer`: (keyword, pointer)."""
    for keyword, place, _ in children(pointer, document.subschemas[pointer]):
        if keyword in IN_PLACE:
            yield keyword, place
    for keyword in ("$ref", "$dynamicRef"):
        target = document.targets.get(step(pointer, keyword))
        if target is not None and target in document.subschemas:
            yield keyword, target


def _check_loops(document: Document, limits: SchemaLimits) -> None:
    """Refuse references that come back to themselves without a step into the value, and chains that are too long."""
    height: dict[str, int] = {}
    for start in document.subschemas:
        if start in height:
            continue
        path: dict[str, list[tuple[str, str]]] = {start: list(in_place(document, start))}
        while path:
            pointer, waiting = next(reversed(path.items()))
            if not waiting:
                below = [height[place] for _, place in in_place(document, pointer)]
                height[pointer] = 1 + max(below, default=0)
                if height[pointer] > limits.in_place_depth:
                    reason = f"more than {limits.in_place_depth} schemas in a chain look at one value"
                    raise SchemaRefused(reason, pointer=pointer, keyword=_first_in_place(document, pointer))
                del path[pointer]
                continue
            keyword, place = waiting.pop()
            if place in path:
                raise SchemaRefused("the reference loops without end", pointer=pointer, keyword=keyword)
            if place not in height:
                path[place] = list(in_place(document, place))


def _first_in_place(document: Document, pointer: str) -> str:
    return next(keyword for keyword, _ in in_place(document, pointer))


def _check_reference_depth(document: Document, limits: SchemaLimits) -> None:
    """Refuse subschemas that lie deep once references are followed, each once, in the order of the document."""
    seen = {""}
    waiting = [("", 1)]
    while waiting:
        pointer, depth = waiting.pop()
        if depth > limits.reference_depth:
            keyword = "$ref" if step(pointer, "$ref") in document.targets else "$defs"
            reason = f"references lead more than {limits.reference_depth} subschemas deep"
            raise SchemaRefused(reason, pointer=pointer, keyword=keyword)
        schema = document.subschemas[pointer]
        below = [place for keyword, place, _ in children(pointer, schema) if keyword not in ("$defs", "definitions")]
        below += [document.targets.get(step(pointer, keyword), "true") for keyword in ("$ref", "$dynamicRef")]
        for place in reversed(below):
            if place in document.subschemas and place not in seen:
                seen.add(place)
                waiting.append((place, depth + 1))
