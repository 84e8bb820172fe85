"""Reading a body: the base of every wire's request models, and the refusal that names the field at fault."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from grammars.errors import RequestError
from serving.api.errors import refusal


class Wire(BaseModel):
    """Part of a request. Every field of the API stands in its model, honoured or refused; no other is accepted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Asked = TypeVar("Asked", bound=Wire)


def read_json(body: bytes) -> Any:
    """The body's value, or a `RequestError`."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}") from None


def read_request(body: bytes, model: type[Asked]) -> Asked:
    """The body as a request of this wire, or a `RequestError` that names the field at fault."""
    value = read_json(body)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise refusal(error, value) from None


def read_arguments(text: str, place: str) -> dict[str, Any]:
    """The arguments of a call in the history, which wires write as JSON text; `place` is where they stand."""
    try:
        arguments = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the arguments are not JSON: {error}", place=place) from None
    if not isinstance(arguments, dict):
        raise RequestError("the arguments are not a JSON object", place=place)
    return arguments
