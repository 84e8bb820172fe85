"""OpenAPI documents: which are read, and what their operations become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from grammars.errors import ConfigurationError
from grammars.schema import read_schema
from serving.execute.openapi.document import Document, read_document
from serving.execute.openapi.operations import Operation, operations, read_operation

OK = {"200": {"description": "fine"}}
INFO = {"title": "tests", "version": "1"}


def document_of(paths: dict[str, Any], version: str = "3.1.0", **rest: Any) -> Document:
    return read_document("tests.json", json.dumps({"openapi": version, "info": INFO, "paths": paths, **rest}))


def only_operation(document: Document) -> Operation:
    (found,) = operations(document)
    return read_operation(document, *found)


def posting(schema: Any, version: str = "3.1.0", **schemas: Any) -> Operation:
    """The operation whose body has this schema."""
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    paths = {"/things": {"post": {"operationId": "post", "requestBody": body, "responses": OK}}}
    return only_operation(document_of(paths, version, components={"schemas": schemas}))


def test_json_and_yaml_are_read_alike() -> None:
    root = {"openapi": "3.0.3", "info": INFO, "paths": {"/x": {"get": {"operationId": "x", "responses": OK}}}}
    as_yaml = yaml.safe_dump(root).replace("'200'", "200").replace("version: '1'", "version: '2024-01-01'")
    assert read_document("x", as_yaml).root["paths"] == read_document("x", json.dumps(root)).root["paths"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "neither JSON nor YAML"),
        ("a: [", "neither JSON nor YAML"),
        ("hello", "no OpenAPI document"),
        ("swagger: '2.0'", "no OpenAPI document"),
        ("openapi: 4.0.0", "no OpenAPI document"),
        ("openapi: 3.1.0\npaths: {}", "info"),
        ("openapi: 3.0.0\ninfo: {title: x, version: '1'}\npaths: {/x: {get: {}}}", "responses"),
        ("[" * 5000, "neither JSON nor YAML"),
    ],
)
def test_text_that_is_no_openapi_document_is_refused_with_its_name(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"(?s)tests\.yaml.*{says}"):
        read_document("tests.yaml", text)


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/x.json#/Pet", "other.yaml#/Pet", "file:///etc/passwd"])
def test_reference_to_another_document_is_refused_and_not_fetched(reference: str) -> None:
    with pytest.raises(ConfigurationError, match="leads out of the document"):
        document_of({}, components={"schemas": {"Pet": {"properties": {"friend": {"$ref": reference}}}}})


def test_operation_is_named_by_its_id_or_else_by_method_and_path() -> None:
    document = document_of(
        {
            "/pets/{id}": {
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "get": {"responses": OK},
                "delete": {"operationId": "removePet", "responses": OK},
            }
        }
    )
    assert [name for name, *_ in operations(document)] == ["get_pets_id", "removePet"]


def test_parameters_and_body_become_arguments() -> None:
    described = {"name": "q", "in": "query", "description": "what to look for", "schema": {"type": "string"}}
    paths = {
        "/{id}": {
            "parameters": [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
                {"name": "q", "in": "query", "schema": {"type": "integer"}},
                {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
            ],
            "put": {
                "operationId": "put",
                "summary": "Put it.",
                "parameters": [described, {"$ref": "#/components/parameters/trace"}],
                "requestBody": {"$ref": "#/components/requestBodies/thing"},
                "responses": OK,
            },
        }
    }
    trace = {"name": "X-Trace", "in": "header", "content": {"application/json": {"schema": {"type": "object"}}}}
    thing = {"required": True, "description": "the thing", "content": {"application/json": {"schema": {}}}}
    components = {"parameters": {"trace": trace}, "requestBodies": {"thing": thing}}
    operation = only_operation(document_of(paths, components=components))
    assert (operation.method, operation.description) == ("PUT", "Put it.")
    assert operation.schema == {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "q": {"type": "string", "description": "what to look for"},
            "X-Trace": {"type": "object"},
            "body": {"description": "the thing"},
        },
        "required": ["id", "body"],
        "additionalProperties": False,
    }
    read_schema(operation.schema)


def test_parameters_of_one_name_are_told_apart_by_their_place() -> None:
    parameters = [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "id", "in": "query", "schema": {"type": "string"}},
        {"name": "body", "in": "query", "schema": {"type": "string"}},
    ]
    body = {"content": {"application/json": {"schema": {"type": "string"}}}}
    paths = {"/{id}": {"post": {"operationId": "x", "parameters": parameters, "requestBody": body, "responses": OK}}}
    operation = only_operation(document_of(paths))
    assert list(operation.schema["properties"]) == ["path_id", "query_id", "query_body", "request_body"]


def test_references_of_a_schema_come_along_even_where_they_go_in_a_circle() -> None:
    person = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "friends": {"items": {"$ref": "#/components/schemas/Person"}}},
    }
    operation = posting({"$ref": "#/components/schemas/Person"}, Person=person)
    assert operation.schema["properties"]["body"] == {"$ref": "#/$defs/Person"}
    items = operation.schema["$defs"]["Person"]["properties"]["friends"]["items"]
    assert items == {"$ref": "#/$defs/Person"}
    read_schema(operation.schema)


def test_properties_that_only_answers_have_are_left_out() -> None:
    thing = {
        "type": "object",
        "properties": {"id": {"type": "integer", "readOnly": True}, "name": {"type": "string"}},
        "required": ["id", "name"],
    }
    body = posting(thing).schema["properties"]["body"]
    assert body == {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 1}),
        ({"type": "integer", "maximum": 9, "exclusiveMaximum": False}, {"type": "integer", "maximum": 9}),
        ({"type": "string", "nullable": True, "xml": {"name": "x"}}, {"type": "string", "nullable": True}),
    ],
)
def test_schema_of_version_3_0_becomes_json_schema(old: Any, new: Any) -> None:
    operation = posting(old, "3.0.3")
    assert operation.schema["properties"]["body"] == new
    read_schema(operation.schema)


def test_property_called_like_a_keyword_is_a_property() -> None:
    schema = {"type": "object", "properties": {"example": {"$ref": "#/components/schemas/Name"}, "xml": {}}}
    operation = posting(schema, Name={"type": "string"})
    assert operation.schema["properties"]["body"]["properties"] == {"example": {"$ref": "#/$defs/Name"}, "xml": {}}


def parameter(**rest: Any) -> dict[str, Any]:
    source = {"name": "p", "in": "query", "schema": {"type": "string"}, **rest}
    return {"/x": {"get": {"operationId": "x", "parameters": [source], "responses": OK}}}


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (parameter(**{"in": "path", "required": True, "style": "matrix"}), "matrix"),
        (parameter(allowReserved=True), "allowReserved"),
        (
            {
                "/x": {
                    "post": {
                        "operationId": "x",
                        "requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object"}}}},
                        "responses": OK,
                    }
                }
            },
            "neither JSON nor a form",
        ),
    ],
)
def test_operation_that_cannot_be_asked_for_here_is_refused(paths: dict[str, Any], says: str) -> None:
    if "matrix" in says:
        paths = {"/{p}": paths["/x"]}
    with pytest.raises(ConfigurationError, match=f"x: .*{says}"):
        only_operation(document_of(paths))


def test_example_file_is_a_document() -> None:
    path = Path(__file__).parents[3] / "examples" / "tools" / "weather.yaml"
    document = read_document(str(path), path.read_text(encoding="utf-8"))
    assert [name for name, *_ in operations(document)] == ["forecast", "report"]
