"""Anthropic's shape of errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from serving.api.errors import Fault

KINDS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.CONFLICT: "conflict_error",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded_error",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout_error",
}
"""The type of an error by its status; the others are `invalid_request_error`, or `api_error` where it is ours."""


def anthropic_error(fault: Fault) -> dict[str, Any]:
    """The body of an error. Its message begins with the place at fault, which `details` has by itself too."""
    kind = KINDS.get(fault.status, "api_error" if fault.is_ours else "invalid_request_error")
    message = fault.message if fault.place is None else f"{fault.place}: {fault.message}"
    details = {"error_code": fault.code} | ({} if fault.place is None else {"param": fault.place})
    error = {"type": kind, "message": message, "details": details}
    return {"type": "error", "error": error, "request_id": fault.request_id}
