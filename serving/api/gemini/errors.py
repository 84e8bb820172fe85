"""Errors in Google's shape: the status by name, and the field at fault among the details."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from serving.api.errors import Fault

STATUS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "NOT_FOUND",
    HTTPStatus.METHOD_NOT_ALLOWED: "UNIMPLEMENTED",
    HTTPStatus.CONFLICT: "ABORTED",
    HTTPStatus.FAILED_DEPENDENCY: "FAILED_PRECONDITION",
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
    HTTPStatus.GATEWAY_TIMEOUT: "DEADLINE_EXCEEDED",
}
"""The names of Google's error model that stand for these; any other is the request's fault, or ours."""

TYPES = "type.googleapis.com/google.rpc."


def gemini_error(fault: Fault) -> dict[str, Any]:
    """Google's shape, with its `ErrorInfo` for what went wrong and its `BadRequest` for where."""
    other = "INTERNAL" if fault.is_ours else "INVALID_ARGUMENT"
    details: list[dict[str, Any]] = [{"@type": f"{TYPES}ErrorInfo", "reason": fault.code.upper(), "domain": "polycall"}]
    if fault.place is not None:
        violation = {"field": fault.place, "description": fault.message}
        details.append({"@type": f"{TYPES}BadRequest", "fieldViolations": [violation]})
    return {
        "error": {
            "code": fault.status,
            "message": fault.message,
            "status": STATUS.get(fault.status, other),
            "details": details,
        }
    }
