"""Errors in Google's shape, as its client reads them."""

from __future__ import annotations

import pytest
from google.genai.errors import APIError

from serving.api.errors import Fault
from serving.api.gemini.errors import gemini_error


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (404, "NOT_FOUND"),
        (405, "UNIMPLEMENTED"),
        (409, "ABORTED"),
        (413, "INVALID_ARGUMENT"),
        (422, "INVALID_ARGUMENT"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
    ],
)
def test_the_status_has_googles_name(status: int, name: str) -> None:
    error = APIError(status, gemini_error(Fault(status=status, code="some_code", message="So it is.")))
    assert (error.code, error.status, error.message) == (status, name, "So it is.")
    assert [detail.get("reason") for detail in error.details["error"]["details"]] == ["SOME_CODE"]


def test_the_field_at_fault_is_among_the_details() -> None:
    fault = Fault(status=400, code="invalid_request", message="No.", place="contents[0].role")
    [_, bad_request] = gemini_error(fault)["error"]["details"]
    assert bad_request["fieldViolations"] == [{"field": "contents[0].role", "description": "No."}]
