"""Schema: a JSON Schema accepted or refused, with pointer and keyword, before any token is spent on it.

An accepted schema has two halves that together are the whole of it: a grammar, which a stream cannot leave, and a
validator, which judges the finished value by the schema as it was sent (draft 2020-12, `format` asserted). `checked`
names what only the second half enforces. Annotations are no constraints and stand in neither: titles, descriptions,
defaults, examples, content encodings, formats that the standard does not define, and, as the standard says, every
keyword it does not know, vendor extensions (`x-...`) among them. `nullable` from OpenAPI adds null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import jsonschema_rs

from grammars.canonical import canonical_text
from grammars.compiling import compile_error, grammar_of, is_unsatisfiable, writable
from grammars.errors import SchemaRefused
from grammars.lowering import Lowering
from grammars.refusing import refusal
from grammars.schema_check import json_of, read_document, validator_of
from grammars.schema_cost import Cost
from grammars.schema_document import LISTED, NAMED, Document, JsonSchema, SchemaLimits, step, words

CACHE_SIZE = 1024
"""How many schemas are kept; the least recently used goes first."""

Root = Literal["object", "any"]

DEFAULT_LIMITS = SchemaLimits()


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Where a value breaks its schema: the JSON pointer inside the value, the keyword, and words for the model."""

    pointer: str
    keyword: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Schema:
    """An accepted schema. Immutable, and safe to share between threads.

    `source` is the schema as it was sent, `grammar` the text to stand after `%json`, `checked` the (pointer, keyword)
    of what the grammar leaves to `problems`.
    """

    source: JsonSchema
    grammar: str
    checked: tuple[tuple[str, str], ...]
    root: Root
    _lowered: JsonSchema = field(repr=False)
    _validator: jsonschema_rs.Draft202012Validator = field(repr=False, compare=False)
    _cost: Cost = field(repr=False, compare=False)

    def problems(self, value: Any) -> list[Problem]:
        """What is wrong with a finished value, judged by the whole schema as it was sent; empty if nothing is."""
        if self.root == "object" and not isinstance(value, Mapping):
            return [Problem(pointer="", keyword="type", message="the value is not an object")]
        if excess := self._cost.excess(value):
            return [Problem(pointer="", keyword="type", message=excess)]
        return [_problem(error) for error in self._validator.iter_errors(value)]

    def text(self, value: Any) -> str:
        """The canonical text of a valid value: the one way of writing it that the grammar allows."""
        return canonical_text(value, self._lowered)


def read_schema(
    source: Mapping[str, Any] | bool, *, limits: SchemaLimits = DEFAULT_LIMITS, root: Root = "object"
) -> Schema:
    """Accept a JSON Schema, or raise `SchemaRefused` with the pointer and keyword at fault.

    `root` says what the finished value must be: an object, as the arguments of a tool are, or any JSON value. Takes up
    to about a second for a schema made to be slow, milliseconds for most, and nothing where the same JSON came before.
    """
    return _read(json_of(source, limits), limits, root)


@lru_cache(maxsize=CACHE_SIZE)
def _read(text: str, limits: SchemaLimits, root: Root) -> Schema:
    document = read_document(json.loads(text), limits)
    if root == "object":
        _check_root(document)
    try:
        validator = validator_of(document.root)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise SchemaRefused(str(error).splitlines()[0], pointer="", keyword="$ref") from error
    for joined in (True, False):
        lowered = Lowering(document, joined).run()
        schema, escapes = writable(_as_object(lowered.schema) if root == "object" else lowered.schema)
        grammar = grammar_of(schema, escapes)
        failure = compile_error(grammar)
        if not failure or is_unsatisfiable(failure):
            break
    if failure:
        raise refusal(document, failure)
    return Schema(
        source=json.loads(text),
        grammar=grammar,
        checked=lowered.checked,
        root=root,
        _lowered=schema,
        _validator=validator,
        _cost=Cost(document),
    )


def _check_root(document: Document) -> None:
    if document.root is False:
        raise SchemaRefused("nothing satisfies it", pointer="", keyword="false")
    if isinstance(document.root, dict):
        types = document.root.get("type", "object")
        if "object" not in ([types] if isinstance(types, str) else types):
            raise SchemaRefused("the root must be an object", pointer="", keyword="type")


def _as_object(lowered: JsonSchema) -> JsonSchema:
    if isinstance(lowered, bool):
        return {"type": "object"} if lowered else False
    if "enum" in lowered:
        return {**lowered, "enum": [value for value in lowered["enum"] if isinstance(value, dict)]}
    return {**lowered, "type": "object"}


def _problem(error: jsonschema_rs.ValidationError) -> Problem:
    keywords = [str(key) for key in error.evaluation_path]
    return Problem(pointer=step("", *error.instance_path), keyword=_keyword(keywords), message=error.message[:500])


OUTERMOST = words(
    "not then else if contains propertyNames dependentSchemas unevaluatedItems unevaluatedProperties $dynamicRef"
)


def _keyword(path: list[str]) -> str:
    """The keyword at fault: the last on the way, or the first of those that the grammar never follows."""
    keyword, index = "", 0
    while index < len(path):
        keyword = path[index]
        if keyword in OUTERMOST:
            break
        index += 2 if keyword in LISTED | NAMED else 1
    return keyword
