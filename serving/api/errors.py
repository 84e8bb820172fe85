"""The one place where what went wrong becomes an HTTP answer, in the shape of the wire that was asked."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException as StarletteHTTPException

from grammars.errors import PolycallError, RequestError, TurnInProgress
from serving.api.request_ids import identified, request_id

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 1
"""What a client that found no room is told to wait."""

CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What went wrong, as far as the client may know it: `place` is the field at fault in its own body, `request_id`
    what the log calls the request.
    """

    status: int
    code: str
    message: str
    place: str | None = None
    request_id: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the server is at fault."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


ErrorShape = Callable[[Fault], dict[str, Any]]
"""Writes a fault as the body of one API's error."""


def openai_error(fault: Fault) -> dict[str, Any]:
    """OpenAI's shape, and that of every path without one of its own."""
    kind = "server_error" if fault.is_ours else "invalid_request_error"
    return {"error": {"message": fault.message, "type": kind, "param": fault.place, "code": fault.code}}


def register(app: FastAPI, shapes: Mapping[str, ErrorShape], heard: Callable[[Fault], None]) -> None:
    """Let this module answer whatever is raised in the app, under each of these paths in its own shape. `heard` is told
    of every fault.
    """

    async def answer(request: Request, error: Exception) -> Response:
        shape = shape_for(request.url.path, shapes)
        fault = fault_of(error, request_id(request))
        heard(fault)
        return identified(request, JSONResponse(shape(fault), status_code=fault.status, headers=headers_of(error)))

    app.add_exception_handler(PolycallError, answer)
    app.add_exception_handler(StarletteHTTPException, answer)
    app.add_exception_handler(RequestValidationError, answer)
    app.add_exception_handler(Exception, answer)


def shape_for(path: str, shapes: Mapping[str, ErrorShape]) -> ErrorShape:
    """The shape of errors under this path."""
    return next((shape for start, shape in shapes.items() if path.startswith(start)), openai_error)


def headers_of(error: Exception) -> dict[str, str]:
    """What the response says beside the fault: when to come back, or how to prove who one is."""
    headers = dict(error.headers or {}) if isinstance(error, StarletteHTTPException) else {}
    if isinstance(error, TurnInProgress):
        headers["Retry-After"] = str(max(RETRY_AFTER_S, math.ceil(error.retry_after_s)))
    elif status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return headers


def fault_of(error: Exception, request_id: str | None = None) -> Fault:
    """What the client reads of an error. Of one that nobody foresaw it reads nothing: the log has it."""
    status = status_of(error)
    place = None
    if isinstance(error, StarletteHTTPException):
        code, message = CODES.get(status, "invalid_request"), str(error.detail)
    elif isinstance(error, RequestValidationError):
        wrong = error.errors()[0]  # of the path or the query: bodies are read by the wires
        place = str(wrong["loc"][-1])
        code, message = RequestError.code, f"{place!r}: {wrong['msg']}"
    elif isinstance(error, PolycallError):
        code, message = error.code, str(error)
        place = error.place if isinstance(error, RequestError) else None
    else:
        logger.error("the request %s failed for a reason that is the server's", request_id, exc_info=error)
        code, message = PolycallError.code, "the server made a mistake; its log says which"
    return Fault(status=status, code=code, message=message, place=place, request_id=request_id)


def status_of(error: Exception) -> int:
    if isinstance(error, StarletteHTTPException):
        return error.status_code
    if isinstance(error, RequestValidationError):
        return RequestError.status
    return error.status if isinstance(error, PolycallError) else HTTPStatus.INTERNAL_SERVER_ERROR


def too_large(limit_bytes: int) -> HTTPException:
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {limit_bytes} bytes")


def invalid_key() -> HTTPException:
    return HTTPException(
        HTTPStatus.UNAUTHORIZED, "a valid API key is needed: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
    )


def refusal(error: ValidationError, body: Any) -> RequestError:
    """The refusal of a body that does not have the form of its API. Of several errors it names the deepest."""
    found = [(path_of(detail, body), detail) for detail in error.errors(include_url=False, include_input=False)]
    path, detail = max(found, key=lambda pair: len(pair[0]))
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    if detail["type"] == "extra_forbidden":
        return RequestError(f"unknown parameter {place!r}", place=place)
    if detail["type"] == "none_required":
        return RequestError(f"{place!r} is not supported here", place=place)
    return RequestError(f"{place or 'the body'}: {detail['msg']}", place=place or None)


def path_of(detail: ErrorDetails, body: Any) -> list[str | int]:
    """The way to the field at fault in the client's body: pydantic's location without the names of union members."""
    path: list[str | int] = []
    here = body
    for part in detail["loc"]:
        known = part < len(here) if isinstance(part, int) and isinstance(here, list) else False
        if known or (isinstance(here, Mapping) and part in here):
            path.append(part)
            here = here[part]
    if detail["type"] == "missing":
        path.append(detail["loc"][-1])
    elif detail["type"].startswith("union_tag"):
        path.append(detail["ctx"]["discriminator"].strip("'"))
    return path
