"""Where the references of a JSON Schema lead, and that they neither loop nor lead out of it nor too deep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource, Unresolvable
from referencing.jsonschema import DRAFT202012

from grammars.errors import SchemaRefused
from grammars.schema_document import Document, JsonSchema, SchemaLimits, children, step, words


def resolve(root: JsonSchema, subschemas: Mapping[str, JsonSchema]) -> dict[str, str]:
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


def check_loops(document: Document, limits: SchemaLimits) -> None:
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


def check_reference_depth(document: Document, limits: SchemaLimits) -> None:
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
