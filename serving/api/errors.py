"""The one place where what went wrong becomes an HTTP answer, in OpenAI's shape.

{"error": {"message": ..., "type": ..., "param": <the field at fault, or null>, "code": ...}}
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException as StarletteHTTPException

from grammars.errors import PolycallError, RequestError, TurnInProgress

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 1
"""What a client that found no room is told to wait."""

CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


def register(app: FastAPI) -> None:
    """Let this module answer whatever is raised in the app."""
    app.add_exception_handler(PolycallError, answer)
    app.add_exception_handler(StarletteHTTPException, answer)
    app.add_exception_handler(Exception, answer)


async def answer(_request: Request, error: Exception) -> JSONResponse:
    """The response for an error that was raised before the response began."""
    headers = dict(error.headers or {}) if isinstance(error, StarletteHTTPException) else {}
    if isinstance(error, TurnInProgress):
        headers["Retry-After"] = str(max(RETRY_AFTER_S, math.ceil(error.retry_after_s)))
    elif status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse(error_body(error), status_code=status_of(error), headers=headers)


def error_body(error: Exception) -> dict[str, Any]:
    """The error as the client reads it. Of an error that nobody foresaw it reads nothing: the log has it."""
    status = status_of(error)
    if isinstance(error, StarletteHTTPException):
        message, param, code = str(error.detail), None, CODES.get(status, "invalid_request")
    elif isinstance(error, PolycallError):
        message, param, code = str(error), error.place if isinstance(error, RequestError) else None, error.code
    else:
        logger.error("a request failed for a reason that is the server's", exc_info=error)
        message, param, code = "the server made a mistake; its log says which", None, PolycallError.code
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def status_of(error: Exception) -> int:
    if isinstance(error, StarletteHTTPException):
        return error.status_code
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
