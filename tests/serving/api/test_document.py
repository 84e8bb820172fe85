"""The OpenAPI document says of every path what the server really reads and answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator.schemas import get_schema_content

from serving.api.app import ApiOptions
from serving.api.described import DESCRIBED
from serving.api.document import schema_of
from serving.callers import ApiKey
from tests.serving.api.api_server import Server, serving

USER = {"role": "user", "content": "hello"}


@pytest.fixture(scope="module")
def document(hello_server: Server) -> Any:
    return httpx.get(f"{hello_server.url}/openapi.json").json()


@pytest.fixture(scope="module")
def keyed_server() -> Iterator[Server]:
    for serve in serving():
        yield serve(options=ApiOptions(keys=(ApiKey(key="sesame"),)))


@pytest.fixture(scope="module")
def keyed(keyed_server: Server) -> Any:
    return httpx.get(f"{keyed_server.url}/openapi.json", timeout=20).json()


def operations(document: Any) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, found in document["paths"].items()
        for method, operation in found.items()
    }


def accepts(document: Any, schema: Any, value: Any) -> bool:
    """Whether the schema, whose references point into the document, accepts the value."""
    return bool(Draft202012Validator({**schema, "components": document["components"]}).is_valid(value))


def body_schema(document: Any, path: str) -> Any:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


def answer_schema(document: Any, path: str, status: str = "200") -> Any:
    [operation] = document["paths"][path].values()
    return operation["responses"][status]["content"]["application/json"]["schema"]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        found = value.get("$ref")
        if isinstance(found, str):
            yield found
        if "propertyName" in value:  # a discriminator
            yield from value["mapping"].values()
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_the_document_is_one_of_openapi_31_and_all_its_references_lead_somewhere(keyed: Any) -> None:
    jsonschema_rs.validate(get_schema_content("3.1"), keyed)
    assert {reference.removeprefix("#/components/schemas/") for reference in references(keyed)} <= set(
        keyed["components"]["schemas"]
    )


def test_every_schema_is_one(document: Any) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_everything_that_is_described_is_served(document: Any) -> None:
    assert set(DESCRIBED) <= set(operations(document))


def test_every_operation_that_is_sent_something_says_what(document: Any) -> None:
    posts = {name: operation for name, operation in operations(document).items() if name.startswith("POST")}
    assert posts
    assert [name for name, operation in posts.items() if "requestBody" not in operation] == []


def test_every_operation_describes_its_answer_and_its_errors(document: Any) -> None:
    for name, operation in operations(document).items():
        assert {"200", "4XX", "5XX"} <= set(operation["responses"]), name
        assert "422" not in operation["responses"], name
        for status in ("200", "4XX"):
            assert operation["responses"][status]["content"], (name, status)


@pytest.mark.parametrize(
    ("body", "is_valid"),
    [
        ({"model": "m", "messages": [USER]}, True),
        ({"model": "m", "messages": [USER], "polycall": {"max_calls": 2}, "temperature": 0.5}, True),
        ({"model": "m", "messages": [USER], "mystery": 1}, False),
        ({"model": "m", "messages": [USER], "polycall": {"max_calls": 0}}, False),
        ({"model": "m", "messages": [{"role": "user"}]}, False),
        ({"messages": [USER]}, False),
    ],
)
def test_the_schema_of_a_body_accepts_what_the_wire_does(document: Any, body: Any, is_valid: bool) -> None:
    assert accepts(document, body_schema(document, "/v1/chat/completions"), body) is is_valid


def test_answers_have_the_form_that_is_described(document: Any, hello_server: Server) -> None:
    url = f"{hello_server.url}/v1/chat/completions"
    schema = answer_schema(document, "/v1/chat/completions")
    answer = httpx.post(url, json={"model": "scripted", "messages": [USER]}).json()
    assert accepts(document, schema, answer)
    assert not accepts(document, schema, {**answer, "polycall": {"steps": "many"}})
    assert not accepts(document, schema, {**answer, "choices": None})


def test_errors_have_the_form_that_is_described(document: Any, hello_server: Server) -> None:
    schema = answer_schema(document, "/v1/chat/completions", "4XX")
    for body in ({}, {"model": "scripted", "messages": [USER], "mystery": 1}, []):
        answer = httpx.post(f"{hello_server.url}/v1/chat/completions", json=body)
        assert answer.status_code == 400
        assert accepts(document, schema, answer.json())
    assert not accepts(document, schema, {"error": {"message": "x", "type": "y", "code": "z"}})


def test_a_stream_is_described_with_its_events(document: Any) -> None:
    [chat] = document["paths"]["/v1/chat/completions"].values()
    event = chat["responses"]["200"]["content"]["text/event-stream"]["x-itemSchema"]
    assert accepts(
        document, event, {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    )
    assert not accepts(document, event, {"id": "1"})


def test_keys_are_described_where_there_are_keys(document: Any, keyed: Any) -> None:
    assert not any("security" in operation for operation in operations(document).values())
    ways = [{"bearer": []}, {"x-api-key": []}, {"x-goog-api-key": []}]
    for name, operation in operations(keyed).items():
        assert operation.get("security") == (None if "health" in name else ways), name


def test_what_is_described_as_open_is_open_and_the_rest_is_not(keyed_server: Server, keyed: Any) -> None:
    for name, operation in operations(keyed).items():
        method, path = name.split()
        answer = httpx.request(method, f"{keyed_server.url}{path.replace('{', '').replace('}', '')}")
        assert (answer.status_code == 401) is ("security" in operation), name


def test_people_get_a_page(hello_server: Server) -> None:
    assert "openapi.json" in httpx.get(f"{hello_server.url}/docs").text


def test_a_schema_is_found_in_samples() -> None:
    schema = schema_of([{"a": "x", "b": 1, "c": [], "d": {}}, {"a": None, "b": 2, "c": []}])
    assert schema == {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "b": {"type": "integer"},
            "c": {"type": "array"},
            "d": {"type": "object", "properties": {}, "required": []},
        },
        "required": ["a", "b", "c"],
    }
