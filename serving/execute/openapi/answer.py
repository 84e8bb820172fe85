"""From an HTTP answer to the value of a call, or to why there is none."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

import httpx2

from serving.execute.guarded_transport import media_type
from serving.execute.openapi.operations import is_json
from serving.execute.server_tool import ToolFailed, ToolRefused

MAY_PASS = {408, 425, 429, 500, 502, 503, 504}
"""Answers after which asking again may help."""

LARGE_BYTES = 256 * 1024
"""Answers of this size and more are read off the event loop."""


async def read_answer(response: httpx2.Response) -> Any:
    """The value of an answer: JSON by its content type, else text; None if it is empty.

    Raises `ToolFailed` for an answer that may be another next time, and `ToolRefused` for every other that is no
    value: a refusal, a redirect that is not followed, JSON that is none, and bytes that are neither JSON nor text.
    """
    if not response.is_success:
        refuse(response)
    if not response.content:
        return None
    kind = media_type(response)
    if is_json(kind):
        large = len(response.content) >= LARGE_BYTES
        return await asyncio.to_thread(read_json, response.content) if large else read_json(response.content)
    if kind.startswith("text/") or kind in ("application/xml", ""):
        return text_of(response)
    raise ToolRefused(f"the answer is {kind}, neither JSON nor text")


def refuse(response: httpx2.Response) -> NoReturn:
    said = f"{response.status_code} {response.reason_phrase}".strip()
    if response.has_redirect_location:
        raise ToolRefused(f"{said}: the service sends on to another place, where the call does not follow")
    if response.content:
        said = f"{said}: {response.content.decode(errors='backslashreplace')}"
    raise ToolFailed(said) if response.status_code in MAY_PASS else ToolRefused(said)


def read_json(content: bytes) -> Any:
    try:
        return json.loads(content, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise ToolRefused(f"the answer says that it is JSON and is not: {error}") from None


def no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def text_of(response: httpx2.Response) -> str:
    try:
        return response.content.decode(response.charset_encoding or "utf-8")
    except (LookupError, UnicodeDecodeError) as error:
        raise ToolRefused(f"the answer says that it is text and cannot be read: {error}") from None
