"""Which subschema and keyword are at fault where the grammar library only says that the whole fails."""

from __future__ import annotations

from collections.abc import Iterator

from grammars.compiling import compile_error, grammar_of, is_unsatisfiable, writable
from grammars.errors import SchemaRefused
from grammars.lowering import Lowering
from grammars.schema_document import Document, JsonSchema, children, step

MAX_TRIES = 16
"""How many subschemas are compiled by themselves to find the one at fault."""


def refusal(document: Document, failure: str) -> SchemaRefused:
    """The refusal for a document whose grammar fails, placed as deep as a few tries can tell."""
    pointer, tries = "", MAX_TRIES
    descending = True
    while descending:
        descending = False
        for place in _suspects(document, pointer, failure):
            if tries == 0:
                break
            tries -= 1
            if (found := _failure(document, place)) and is_unsatisfiable(found) == is_unsatisfiable(failure):
                pointer, failure, descending = place, found, True
                break
    keyword = _keyword(document, pointer)
    while keyword == "" and pointer:
        pointer, _, last = pointer.rpartition("/")
        if pointer in document.subschemas:
            keyword = last
        else:
            pointer, _, keyword = pointer.rpartition("/")
    return SchemaRefused(failure, pointer=pointer, keyword=keyword or "false")


def _failure(document: Document, pointer: str) -> str:
    schema, escapes = writable(Lowering(document).run(pointer).schema)
    return compile_error(grammar_of(schema, escapes))


def _suspects(document: Document, pointer: str, failure: str) -> Iterator[str]:
    """The subschemas whose failure would be this one's as well, references followed."""
    schema = document.subschemas[pointer]
    if isinstance(schema, bool):
        return
    required = {step(pointer, "properties", name) for name in schema.get("required", ())}
    for keyword, place, _ in children(pointer, schema):
        if keyword in ("$defs", "definitions", "not", "if", "then", "else", "contains", "propertyNames"):
            continue
        if keyword == "allOf" or place in required or not is_unsatisfiable(failure):
            yield place
    target = document.targets.get(step(pointer, "$ref"))
    if target is not None and target in document.subschemas:
        yield target


def _keyword(document: Document, pointer: str) -> str:
    """The keyword without which the schema compiles; else its first."""
    schema = document.subschemas[pointer]
    if isinstance(schema, bool):
        return ""
    for keyword in schema:
        without: JsonSchema = {key: value for key, value in schema.items() if key != keyword}
        trial = Document(
            root=document.root, subschemas={**document.subschemas, pointer: without}, targets=document.targets
        )
        if keyword != "type" and not _failure(trial, pointer):
            return keyword
    return "type" if "type" in schema else next(iter(schema), "type")
