"""The id of one HTTP request, which its response and the server's log have in common."""

from __future__ import annotations

import uuid

from fastapi import Request, Response

HEADERS = ("request-id", "x-request-id")
"""Where the clients of Anthropic and OpenAI look for it."""


def request_id(request: Request) -> str:
    """The request's id, the same however often one asks."""
    if not hasattr(request.state, "request_id"):
        request.state.request_id = f"req_{uuid.uuid4().hex}"
    return str(request.state.request_id)


def identified(request: Request, response: Response) -> Response:
    """The response, with the id of its request."""
    for header in HEADERS:
        response.headers[header] = request_id(request)
    return response
