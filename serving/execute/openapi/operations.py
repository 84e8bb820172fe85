"""Operations: what an OpenAPI document offers to call, each with what its request is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grammars.errors import ConfigurationError
from serving.execute.openapi.document import Document
from serving.execute.openapi.schemas import SchemaCollector

METHODS = ("get", "put", "post", "delete", "options", "head", "patch")

STYLES = {
    "path": {"simple"},
    "query": {"form", "spaceDelimited", "pipeDelimited", "deepObject"},
    "header": {"simple"},
    "cookie": {"form"},
}
"""The ways of writing a parameter that are known here, by where it stands."""

DEFAULT_STYLE = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}

FORM = "application/x-www-form-urlencoded"

UNSENT_HEADERS = {"accept", "content-type", "authorization"}
"""Headers that the standard tells to ignore where they are described as parameters."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a request, under `argument` among the tool's arguments; `json` says that it is written as JSON."""

    name: str
    argument: str
    place: str
    style: str
    explode: bool
    json: bool


@dataclass(frozen=True, kw_only=True)
class Body:
    """The body of a request, which is one argument of the tool."""

    argument: str
    media_type: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation. `security` lists alternatives, each of them the names of schemes that are needed together."""

    name: str
    method: str
    path: str
    description: str
    servers: Sequence[Mapping[str, Any]]
    parameters: Sequence[Parameter]
    body: Body | None
    security: Sequence[Sequence[str]]
    schema: Mapping[str, Any]


def operations(document: Document) -> list[tuple[str, Mapping[str, Any], str, str]]:
    """What the document offers: (name, path item, path, method), in its order.

    The name is the `operationId`, else made of method and path: `get /pets/{id}` is `get_pets_id`.
    """
    found = []
    for path, item in document.root.get("paths", {}).items():
        read = document.resolved(item)
        for method in METHODS:
            if method in read:
                words = [method, *(word.strip("{}") for word in path.split("/") if word)]
                found.append((read[method].get("operationId") or "_".join(words), read, path, method))
    return found


def read_operation(document: Document, name: str, item: Mapping[str, Any], path: str, method: str) -> Operation:
    """One operation in full. Raises `ConfigurationError` for what cannot be asked for here."""
    operation = item[method]
    collector = SchemaCollector(document)
    described = parameters_of(document, item, operation)
    body = document.resolved(operation.get("requestBody"))
    taken = [parameter["name"] for parameter in described] + (["body"] if body else [])
    properties: dict[str, Any] = {}
    required: list[str] = []
    parameters = []
    for source in described:
        name_alone = taken.count(source["name"]) == 1
        argument = source["name"] if name_alone else f"{source['in']}_{source['name']}"
        parameters.append(read_parameter(source, argument, name))
        properties[argument] = with_description(collector.schema(schema_of(source)), source.get("description"))
        if source.get("required"):
            required.append(argument)
    read_body = None
    if body:
        argument = "body" if taken.count("body") == 1 else "request_body"
        media_type, content = body_content(body, name)
        read_body = Body(argument=argument, media_type=media_type)
        properties[argument] = with_description(collector.schema(content.get("schema", {})), body.get("description"))
        if body.get("required"):
            required.append(argument)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    if collector.definitions:
        schema["$defs"] = collector.definitions
    requirements = operation.get("security", document.root.get("security", []))
    return Operation(
        name=name,
        method=method.upper(),
        path=path,
        description=operation.get("description") or operation.get("summary") or item.get("summary") or "",
        servers=operation.get("servers") or item.get("servers") or document.root.get("servers") or [],
        parameters=parameters,
        body=read_body,
        security=[tuple(requirement) for requirement in requirements],
        schema=schema,
    )


def parameters_of(document: Document, item: Mapping[str, Any], operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parameters of a path and of its operation, which stand above the path's."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for source in (*item.get("parameters", ()), *operation.get("parameters", ())):
        parameter = document.resolved(source)
        if parameter["in"] != "header" or parameter["name"].lower() not in UNSENT_HEADERS:
            found[parameter["in"], parameter["name"]] = parameter
    return list(found.values())


def read_parameter(source: Mapping[str, Any], argument: str, operation: str) -> Parameter:
    place = source["in"]
    style = source.get("style", DEFAULT_STYLE[place])
    content = list(source.get("content", ()))
    if style not in STYLES[place]:
        raise ConfigurationError(
            f"{operation}: the parameter {source['name']!r} has the style {style!r}, not known here"
        )
    if source.get("allowReserved"):
        raise ConfigurationError(f"{operation}: the parameter {source['name']!r} has allowReserved, not known here")
    if content and not is_json(content[0]):
        raise ConfigurationError(f"{operation}: the parameter {source['name']!r} is {content[0]}, not JSON")
    return Parameter(
        name=source["name"],
        argument=argument,
        place=place,
        style=style,
        explode=source.get("explode", style == "form"),
        json=bool(content),
    )


def schema_of(parameter: Mapping[str, Any]) -> Any:
    for content in parameter.get("content", {}).values():
        return content.get("schema", {})
    return parameter.get("schema", {})


def body_content(body: Mapping[str, Any], operation: str) -> tuple[str, Mapping[str, Any]]:
    """The media type to send, and its description: JSON if it may be JSON."""
    contents: Mapping[str, Mapping[str, Any]] = body["content"]
    for media_type, content in contents.items():
        if is_json(media_type):
            return media_type, content
    for media_type, content in contents.items():
        if media_type.partition(";")[0].strip().lower() == FORM:
            return FORM, content
    raise ConfigurationError(f"{operation}: its body is {' or '.join(contents)}, neither JSON nor a form")


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON; what is of any type may be JSON, too."""
    name = media_type.partition(";")[0].strip().lower()
    return name in ("application/json", "*/*", "application/*") or name.endswith("+json")


def with_description(schema: Any, description: str | None) -> Any:
    if not description or not isinstance(schema, dict) or "description" in schema:
        return schema
    return {**schema, "description": description}
