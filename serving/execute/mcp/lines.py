"""Lines of an MCP server on its standard output, each of them bounded, and whom a spoiled one was meant for.

The SDK's own reader keeps a line whole however long it is, and searches all of it again for every piece that arrives,
so that one answer of 100 MB would hold the server up for minutes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

PIECE_BYTES = 64 * 1024
ENDS_BYTES = 512
"""How much of both ends of a line that is too long is kept, to find whose answer it was."""

ID = rb'"id"\s*:\s*(\d+|"(?:[^"\\]|\\.)*")'
VERSION = rb'"jsonrpc"\s*:\s*"2\.0"'
HEAD = re.compile(rb"\s*\{\s*(?:" + VERSION + rb"\s*,\s*)?" + ID + rb"\s*,")
TAIL = re.compile(rb",\s*" + ID + rb"(?:\s*,\s*" + VERSION + rb")?\s*\}\s*\Z")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line that was read whole."""

    text: bytes


@dataclass(frozen=True, kw_only=True)
class LongLine:
    """A line that was longer than allowed, of which only the ends are kept."""

    head: bytes
    tail: bytes
    size_bytes: int


async def bounded_lines(stream: asyncio.StreamReader, limit_bytes: int) -> AsyncIterator[Line | LongLine]:
    """The lines of a stream without their ends. What stands after the last end of line is no line."""
    kept = bytearray()
    size = 0
    while piece := await stream.read(PIECE_BYTES):
        *parts, rest = piece.split(b"\n")
        for part in parts:
            size += len(part)
            kept += part
            yield Line(text=bytes(kept)) if size <= limit_bytes else long_line(kept, size)
            kept.clear()
            size = 0
        size += len(rest)
        kept += rest
        if size > limit_bytes:
            del kept[ENDS_BYTES : max(ENDS_BYTES, len(kept) - ENDS_BYTES)]


def long_line(kept: bytearray, size: int) -> LongLine:
    return LongLine(head=bytes(kept[:ENDS_BYTES]), tail=bytes(kept[-ENDS_BYTES:]), size_bytes=size)


def answered_id(*, head: bytes, tail: bytes = b"") -> int | str | None:
    """The request that a spoiled line answers, if its beginning says so, or its end.

    Servers write the id first or last. Both places are outside of what a tool wrote: the beginning is, and the end is
    as long as the line is JSON at all, so pass no `tail` of a line that is not.
    """
    found = HEAD.match(head) or TAIL.search(tail)
    if found is None:
        return None
    read = json.loads(found.group(1))
    return read if isinstance(read, int | str) else None
