"""From a call's arguments to the parts of an HTTP request, written in the ways that OpenAPI describes.

Arguments come from a model. Whatever they say, they cannot leave their place: in the path they are one segment, in the
query one value, in a header one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from grammars.tools import json_text
from serving.execute.openapi.operations import Body, Operation, Parameter, is_json
from serving.execute.server_tool import InvalidArguments

SEPARATORS = {"form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|"}

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class RequestParts:
    """What the arguments make of a request: path and query percent-encoded, the rest as it is sent."""

    path: str
    query: str
    headers: Mapping[str, str]
    content: bytes | None


def request_parts(operation: Operation, arguments: Mapping[str, Any]) -> RequestParts:
    """The request for these arguments. Raises `InvalidArguments` for a value that cannot stand where it belongs."""
    path = operation.path
    query: Pairs = []
    cookies: Pairs = []
    headers: dict[str, str] = {}
    for parameter in operation.parameters:
        value = arguments.get(parameter.argument)
        if value is None:
            if parameter.place == "path":
                raise InvalidArguments(f"{parameter.argument}: a value is needed")
        elif parameter.place == "path":
            path = path.replace("{" + parameter.name + "}", segment(parameter, value))
        elif parameter.place == "query":
            query += pairs(parameter, value)
        elif parameter.place == "cookie":
            cookies += [(name, cookie_value(parameter, text)) for name, text in pairs(parameter, value)]
        else:
            headers[parameter.name] = header_value(parameter, value)
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={text}" for name, text in cookies)
    content = None
    if operation.body is not None and operation.body.argument in arguments:
        content_type, content = written_body(operation.body, arguments[operation.body.argument])
        headers["Content-Type"] = content_type
    return RequestParts(path=path, query=urlencode(query, quote_via=quote), headers=headers, content=content)


def segment(parameter: Parameter, value: Any) -> str:
    """The value as one segment of a path."""
    text = joined(parameter, value)
    if text in ("", ".", ".."):
        raise InvalidArguments(f"{parameter.argument}: {text!r} cannot stand in a path")
    return quote(text, safe="")


def header_value(parameter: Parameter, value: Any) -> str:
    text = joined(parameter, value)
    if not (text.isascii() and text.isprintable()):
        raise InvalidArguments(f"{parameter.argument}: {text!r} cannot stand in a header")
    return text


def cookie_value(parameter: Parameter, text: str) -> str:
    if not (text.isascii() and text.isprintable()) or set(text) & set(' ",;\\'):
        raise InvalidArguments(f"{parameter.argument}: {text!r} cannot stand in a cookie")
    return text


def pairs(parameter: Parameter, value: Any) -> Pairs:
    """The value as names and values of a query."""
    name = parameter.name
    if parameter.json or not isinstance(value, Mapping | list):
        return [(name, joined(parameter, value))]
    if parameter.style == "deepObject":
        if not isinstance(value, Mapping):
            raise InvalidArguments(f"{parameter.argument}: an object is needed")
        return [(f"{name}[{key}]", scalar(parameter, item)) for key, item in value.items()]
    if not parameter.explode:
        return [(name, joined(parameter, value))]
    if isinstance(value, Mapping):
        return [(key, scalar(parameter, item)) for key, item in value.items()]
    return [(name, scalar(parameter, item)) for item in value]


def joined(parameter: Parameter, value: Any) -> str:
    """The value as one text: members and items with the separator of its style between them."""
    if parameter.json:
        return json_text(value)
    separator = SEPARATORS.get(parameter.style, ",")
    if isinstance(value, Mapping):
        if parameter.explode:
            return separator.join(f"{key}={scalar(parameter, item)}" for key, item in value.items())
        return separator.join(text for key, item in value.items() for text in (key, scalar(parameter, item)))
    if isinstance(value, list):
        return separator.join(scalar(parameter, item) for item in value)
    return scalar(parameter, value)


def scalar(parameter: Parameter, value: Any) -> str:
    """A text as it is; numbers, true, false and null as JSON writes them."""
    if isinstance(value, Mapping | list):
        raise InvalidArguments(f"{parameter.argument}: values inside of values cannot be sent")
    return value if isinstance(value, str) else json_text(value)


def written_body(body: Body, value: Any) -> tuple[str, bytes]:
    """The content type and the content."""
    if is_json(body.media_type):
        return "application/json" if "*" in body.media_type else body.media_type, json_text(value).encode()
    if not isinstance(value, Mapping):
        raise InvalidArguments(f"{body.argument}: an object is needed")
    form = Parameter(name="", argument=body.argument, place="query", style="form", explode=True, json=False)
    fields = [
        (name, scalar(form, item))
        for name, found in value.items()
        for item in (found if isinstance(found, list) else [found])
    ]
    return body.media_type, urlencode(fields).encode()
