"""Where Google's clients ask: under /v1beta, and those of today under /v1, where OpenAI's paths are too."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

HERE = "/v1beta"
ELSEWHERE = re.compile(r"/v1(?:alpha)?(?=/models\b)")
METHOD = re.compile(r"/models/.+:(?:generateContent|streamGenerateContent|countTokens)$")
GOOGLES_HEADERS = (b"x-goog-api-client", b"x-goog-api-key")


class GeminiPaths:
    """Leads what is meant for Gemini's wire to /v1beta: its methods, whoever asks, and Google's clients' question which
    models there are, to which OpenAI's answer otherwise.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_googles(scope):
            scope["path"] = ELSEWHERE.sub(HERE, scope["path"], count=1)
        await self._app(scope, receive, send)


def is_googles(scope: Scope) -> bool:
    """Whether the request under another version is for Gemini's wire."""
    if not ELSEWHERE.match(scope["path"]):
        return False
    return METHOD.search(scope["path"]) is not None or any(name in GOOGLES_HEADERS for name, _ in scope["headers"])
