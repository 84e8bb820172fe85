"""The OpenAPI document: every path with its body, its answers and its errors.

The wires read bytes and write JSON by themselves, so that the framework does not know what they read and write; here
it is told, by the very models that they use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from serving.api.errors import ErrorShape, Fault, shape_for
from serving.api.requests import IDEMPOTENCY_KEY, KEY_LENGTH
from serving.api.turn_report import TurnReport

Schema = dict[str, Any]

KEYS: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "x-goog-api-key": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
}
"""The ways to send a key, of which one is enough."""

IDEMPOTENCY: Schema = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "description": "A request that comes again with this key gets the same answer, and nothing is run twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH, "pattern": "^[\\x20-\\x7e]*$"},
}


@dataclass(frozen=True, kw_only=True)
class Described:
    """What an endpoint reads and writes.

    `name` is the prefix of its schemas' names. `body` and `answer` are the models of a request and of a whole answer,
    None where it has none or the framework knows; `event` is the type of a stream's events. `is_turn`: the answer is
    that of a turn, which carries the object `polycall` and takes an idempotency key. `is_listed`: it is a list of such.
    `queries` are the parameters of the query, none of which is needed.
    """

    name: str
    body: type[BaseModel] | None = None
    answer: Any = None
    event: Any = None
    is_turn: bool = True
    is_listed: bool = False
    queries: Mapping[str, Schema] = field(default_factory=dict)


class Document:
    """The document of an app, written when it is first asked for and then kept.

    `described` has the endpoints by path, in the form `POST /v1/messages`; `shapes` the errors as the error handlers
    have them; paths that are `open` need no key.
    """

    def __init__(
        self,
        app: FastAPI,
        described: Mapping[str, Described],
        shapes: Mapping[str, ErrorShape],
        *,
        has_keys: bool,
        open_paths: Collection[str],
    ) -> None:
        self._app = app
        self._described = described
        self._shapes = shapes
        self._has_keys = has_keys
        self._open = open_paths
        self._lock = Lock()
        self._found: Schema | None = None

    def read(self) -> Schema:
        """The document. The first time it takes a while; may be called by several threads."""
        with self._lock:
            if self._found is None:
                self._found = self._write()
            return self._found

    def _write(self) -> Schema:
        found = get_openapi(title=self._app.title, version=self._app.version, routes=self._app.routes)
        parts: dict[str, Schema] = found.setdefault("components", {}).setdefault("schemas", {})
        for path, operations in found["paths"].items():
            for method, operation in operations.items():
                described = self._described.get(f"{method.upper()} {path}")
                if described is not None:
                    describe(operation, described, parts)
                self._add_errors(path, operation, parts)
                if self._has_keys and path not in self._open:
                    operation["security"] = [{name: []} for name in KEYS]
        if self._has_keys:
            found["components"]["securitySchemes"] = KEYS
        return found

    def _add_errors(self, path: str, operation: Schema, parts: dict[str, Schema]) -> None:
        shape = shape_for(path, self._shapes)
        name = shape.__name__
        parts[name] = error_schema(shape)
        responses = operation["responses"]
        responses.pop("422", None)  # the framework's own, which the error handlers write in the wire's shape
        wrong = {"content": {"application/json": {"schema": reference(name)}}}
        responses["4XX"] = {"description": "The request cannot be honoured as it stands.", **wrong}
        responses.setdefault("5XX", {"description": "The server is at fault, or has no room now.", **wrong})


def describe(operation: Schema, described: Described, parts: dict[str, Schema]) -> None:
    """Write into the operation what it reads and answers, and the schemas of that into `parts`."""
    if described.body is not None:
        body = add_schema(described.body, f"{described.name}Request", parts)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    parameters = [{"name": name, "in": "query", "schema": schema} for name, schema in described.queries.items()]
    parameters += [IDEMPOTENCY] if described.is_turn else []
    operation["parameters"] = [*operation.get("parameters", []), *parameters]
    content: dict[str, Schema] = {}
    if described.answer is not None:
        name = f"{described.name}Answer"
        answer = add_schema(described.answer, name, parts)
        content["application/json"] = {"schema": {"type": "array", "items": answer} if described.is_listed else answer}
        if described.is_turn:
            parts[name]["properties"]["polycall"] = add_schema(TurnReport, "TurnReport", parts)
    if described.event is not None:
        # OpenAPI 3.2 has a place for the events of a stream; 3.1 has not.
        event = add_schema(described.event, f"{described.name}Event", parts)
        content["text/event-stream"] = {"schema": {"type": "string"}, "x-itemSchema": event}
    if content:
        operation["responses"]["200"] = {"description": "The answer.", "content": content}


class Written(GenerateJsonSchema):
    """JSON Schema as OpenAPI takes it: a union of unions has no discriminator, which would map to schemas by name."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        found = super().tagged_union_schema(schema)
        mapping = found.get("discriminator", {}).get("mapping", {})
        if not all(isinstance(name, str) for name in mapping.values()):
            del found["discriminator"]
        return found


def add_schema(model: Any, name: str, parts: dict[str, Schema]) -> Schema:
    """Add the type's schema as `name`, and the ones that it is made of under names that begin so. Returns a reference.

    What was added before is not written again. Fields with a default may be left out, in answers too.
    """
    if name not in parts:
        place = f"#/components/schemas/{name}.{{model}}"
        schema = TypeAdapter(model).json_schema(ref_template=place, schema_generator=Written)
        for part, definition in schema.pop("$defs", {}).items():
            parts[f"{name}.{part}"] = definition
        parts[name] = schema
    return reference(name)


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def error_schema(shape: ErrorShape) -> Schema:
    """The schema of the errors that the function writes, found by having it write some."""
    faults = (
        Fault(status=400, code="invalid_request", message="x", place="field", request_id="x"),
        Fault(status=503, code="overloaded", message="x"),
    )
    return schema_of([shape(fault) for fault in faults])


def schema_of(samples: list[Any]) -> Schema:
    """A schema of values of which these are samples, all of one form but for null."""
    given = [sample for sample in samples if sample is not None]
    if not given:
        return {"type": "null"}
    if len(given) < len(samples):
        return {"anyOf": [schema_of(given), {"type": "null"}]}
    if isinstance(given[0], dict):
        names = list(dict.fromkeys(name for sample in given for name in sample))
        return {
            "type": "object",
            "properties": {name: schema_of([sample[name] for sample in given if name in sample]) for name in names},
            "required": [name for name in names if all(name in sample for sample in given)],
        }
    kinds = {str: "string", bool: "boolean", int: "integer", list: "array"}
    return {"type": kinds[type(given[0])]}


def document_router(document: Document) -> APIRouter:
    """GET /openapi.json, and /docs for people. Functions of their own threads: the document takes a while to write."""
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    def openapi() -> JSONResponse:
        return JSONResponse(document.read())

    @router.get("/docs")
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(openapi_url="openapi.json", title="polycall")

    return router
