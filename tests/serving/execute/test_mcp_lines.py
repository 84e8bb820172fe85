"""Lines of an MCP server: whole up to a limit, and beyond it only their ends."""

from __future__ import annotations

import asyncio
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.execute.mcp.lines import ENDS_BYTES, Line, LongLine, answered_id, bounded_lines


async def lines_of(pieces: list[bytes], limit_bytes: int) -> list[Line | LongLine]:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return [line async for line in bounded_lines(reader, limit_bytes)]


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=8), st.integers(1, 40))
def test_lines_are_those_of_the_stream_and_long_ones_are_marked(lines: list[bytes], limit_bytes: int) -> None:
    found = asyncio.run(lines_of([line + b"\n" for line in lines], limit_bytes))
    assert [line.size_bytes if isinstance(line, LongLine) else line.text for line in found] == [
        line if len(line) <= limit_bytes else len(line) for line in lines
    ]


async def test_long_line_is_known_by_its_ends_and_costs_no_memory() -> None:
    reader = asyncio.StreamReader()
    size = 100_000_000

    async def write() -> None:
        reader.feed_data(b"head")
        for _ in range(size // 1_000_000):
            reader.feed_data(b"x" * 1_000_000)
            await asyncio.sleep(0)
        reader.feed_data(b"tail\nnext\n")
        reader.feed_eof()

    tracemalloc.start()
    try:
        writing = asyncio.create_task(write())
        found = [line async for line in bounded_lines(reader, 10_000)]
        await writing
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    long, following = found
    assert isinstance(long, LongLine)
    assert long.size_bytes == size + 8
    assert long.head.startswith(b"head")
    assert long.tail.endswith(b"tail")
    assert len(long.head) == len(long.tail) == ENDS_BYTES
    assert following == Line(text=b"next")
    assert peak < 150_000_000  # the stream's own buffer, no more


@pytest.mark.parametrize(
    ("line", "request_id"),
    [
        ({"jsonrpc": "2.0", "id": 7, "result": {"id": 8}}, 7),
        ({"id": 7, "jsonrpc": "2.0", "result": {}}, 7),
        ({"result": {"id": 8}, "jsonrpc": "2.0", "id": 7}, 7),
        ({"result": {"id": 8}, "id": 7, "jsonrpc": "2.0"}, 7),
        ({"jsonrpc": "2.0", "id": 'a"b', "result": {}}, 'a"b'),
        ({"jsonrpc": "2.0", "method": "x", "params": {"id": 8}}, None),
        ({"jsonrpc": "2.0", "result": {"id": 8}}, None),
        ({"result": {"text": ', "id": 8}'}}, None),
    ],
)
def test_answered_request_is_found_at_either_end_of_a_message(line: object, request_id: int | str | None) -> None:
    text = json.dumps(line).encode()
    assert answered_id(head=text, tail=text) == request_id
