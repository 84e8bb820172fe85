"""Requests of operations: every argument in its place, and none that leaves it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.execute.openapi.operations import Body, Operation, Parameter
from serving.execute.openapi.request import RequestParts, request_parts
from serving.execute.server_tool import InvalidArguments


def parts(value: Any, place: str, style: str, *, explode: bool = False, json: bool = False) -> RequestParts:
    """The request with one parameter `p`."""
    parameter = Parameter(name="p", argument="p", place=place, style=style, explode=explode, json=json)
    return parts_of(parameter, None, {"p": value})


def parts_of(parameter: Parameter | None, body: Body | None, arguments: dict[str, Any]) -> RequestParts:
    operation = Operation(
        name="x",
        method="GET",
        path="/a/{p}/b",
        description="",
        servers=(),
        parameters=() if parameter is None else (parameter,),
        body=body,
        security=(),
        schema={},
    )
    return request_parts(operation, arguments)


@pytest.mark.parametrize(
    ("value", "style", "explode", "query"),
    [
        ("blue sky", "form", True, "p=blue%20sky"),
        ("", "form", True, "p="),
        (1.5, "form", True, "p=1.5"),
        (True, "form", True, "p=true"),
        (["a", "b,c"], "form", True, "p=a&p=b%2Cc"),
        (["a", "b"], "form", False, "p=a%2Cb"),
        ([], "form", True, ""),
        ({"x": 1, "y": "z"}, "form", True, "x=1&y=z"),
        ({"x": 1, "y": "z"}, "form", False, "p=x%2C1%2Cy%2Cz"),
        (["a", "b"], "spaceDelimited", False, "p=a%20b"),
        (["a", "b"], "pipeDelimited", False, "p=a%7Cb"),
        ({"x": 1, "y": "z"}, "deepObject", True, "p%5Bx%5D=1&p%5By%5D=z"),
        (None, "form", True, ""),
    ],
)
def test_query_is_written_in_the_style_of_its_parameter(value: Any, style: str, explode: bool, query: str) -> None:
    assert parts(value, "query", style, explode=explode).query == query


@pytest.mark.parametrize(
    ("value", "explode", "path"),
    [
        ("blue", False, "/a/blue/b"),
        (7, False, "/a/7/b"),
        (["a", "b"], False, "/a/a%2Cb/b"),
        ({"x": 1, "y": 2}, False, "/a/x%2C1%2Cy%2C2/b"),
        ({"x": 1, "y": 2}, True, "/a/x%3D1%2Cy%3D2/b"),
        ("../../admin?x=1#y", False, "/a/..%2F..%2Fadmin%3Fx%3D1%23y/b"),
        ("{q}", False, "/a/%7Bq%7D/b"),
    ],
)
def test_path_is_written_as_one_segment(value: Any, explode: bool, path: str) -> None:
    assert parts(value, "path", "simple", explode=explode).path == path


@pytest.mark.parametrize(
    ("value", "place", "style"),
    [
        ("..", "path", "simple"),
        (".", "path", "simple"),
        ("", "path", "simple"),
        (None, "path", "simple"),
        ("a\r\nX-Admin: yes", "header", "simple"),
        ("naïve", "header", "simple"),
        ("a; admin=1", "cookie", "form"),
        ("a\nb", "cookie", "form"),
        ([["nested"]], "query", "form"),
        ({"x": {"y": 1}}, "query", "deepObject"),
        (["no object"], "query", "deepObject"),
    ],
)
def test_value_that_cannot_stand_in_its_place_is_refused(value: Any, place: str, style: str) -> None:
    with pytest.raises(InvalidArguments, match=r"^p: "):
        parts(value, place, style, explode=style == "deepObject")


def test_header_and_cookie_are_written() -> None:
    assert parts(["a", "b"], "header", "simple").headers == {"p": "a,b"}
    assert parts("a", "cookie", "form").headers == {"Cookie": "p=a"}


def test_parameter_that_is_json_is_written_as_json() -> None:
    assert parts({"x": [1]}, "query", "form", json=True).query == "p=%7B%22x%22%3A%20%5B1%5D%7D"


@pytest.mark.parametrize(
    ("media_type", "value", "content_type", "content"),
    [
        ("application/json", {"x": [1, None]}, "application/json", b'{"x": [1, null]}'),
        ("application/vnd.thing+json", "ü", "application/vnd.thing+json", '"ü"'.encode()),
        ("*/*", 1, "application/json", b"1"),
        ("application/x-www-form-urlencoded", {"x": ["a", "b"], "y": 1}, None, b"x=a&x=b&y=1"),
    ],
)
def test_body_is_written_as_its_media_type(
    media_type: str, value: Any, content_type: str | None, content: bytes
) -> None:
    read = parts_of(None, Body(argument="body", media_type=media_type), {"body": value})
    assert (read.headers["Content-Type"], read.content) == (content_type or media_type, content)


def test_body_that_is_not_given_is_not_sent() -> None:
    read = parts_of(None, Body(argument="body", media_type="application/json"), {})
    assert (read.headers, read.content) == ({}, None)


def test_form_of_something_else_than_an_object_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="an object is needed"):
        parts_of(None, Body(argument="body", media_type="application/x-www-form-urlencoded"), {"body": [1]})


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1))
def test_no_text_leaves_its_segment_or_its_value(text: str) -> None:
    query = parts(text, "query", "form", explode=True).query
    assert parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=1) == [("p", text)]
    if text not in (".", ".."):
        url = urlsplit("http://service" + parts(text, "path", "simple").path)
        assert (url.netloc, url.query, url.fragment) == ("service", "", "")
        assert [unquote(segment) for segment in url.path.split("/")] == ["", "a", text, "b"]
