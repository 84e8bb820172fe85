"""An MCP server for the tests, written with the official SDK: `mcp_server.py stdio`, or `mcp_server.py http PORT`.

With `legacy` it knows only the versions of MCP that have sessions.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from mcp.server import MCPServer
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import Field
from starlette.types import ASGIApp, Receive, Scope, Send

server = MCPServer("tests", log_level="CRITICAL")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(one: int, other: int) -> int:
    """Add two numbers."""
    return one + other


@server.tool(annotations=ToolAnnotations(idempotent_hint=True, destructive_hint=False))
def put(key: Annotated[str, Field(description="where to put it")]) -> str:
    return f"put {key}"


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def delete(key: str) -> str:
    return f"deleted {key}"


@server.tool(name="files/list", structured_output=False)
def files_list() -> str:
    return "no files"


@server.tool(structured_output=False)
def process_id() -> str:
    return str(os.getpid())


@server.tool(structured_output=False)
def start_child() -> str:
    """Start a process that keeps the standard output open."""
    return str(subprocess.Popen(["sleep", "60"]).pid)


@server.tool(structured_output=False)
def note_and_die(path: str) -> str:
    """Leave a line in a file, and die before the answer."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("ran\n")
    os._exit(1)


@server.tool(structured_output=False)
async def wait(seconds: float, path: str | None = None) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if path is not None:
            Path(path).touch()  # noqa: ASYNC240
        raise
    return "waited"


@server.tool(structured_output=False)
def fail(words: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=words)], is_error=True)


@server.tool(structured_output=False)
def letters(count: int) -> str:
    return "x" * count


@server.tool()
def variable(name: str) -> dict[str, Any]:
    """What a variable of the environment is, also told to the standard error."""
    value = os.environ.get(name, "none")
    print(f"{name} is {value}", file=sys.stderr, flush=True)
    return {"value": value, value: True}


@server.tool(structured_output=False)
def several() -> CallToolResult:
    return CallToolResult(content=[TextContent(text="one"), TextContent(text="two")])


@server.tool(structured_output=False)
def picture() -> CallToolResult:
    return CallToolResult(content=[ImageContent(data="aGk=", mime_type="image/png")])


class WithoutDiscovery:
    """Answers as a server does that does not know how versions are negotiated today."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = json.loads(body)
        if asked["method"] == "server/discover":
            error = {"code": -32601, "message": "Method not found"}
            answer = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}).encode()
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})
            return
        rest = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Any:
            return next(rest, None) or await receive()

        await self._app(scope, again, send)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        app: Any = server.streamable_http_app(json_response="json" in sys.argv)
        uvicorn.run(WithoutDiscovery(app) if "legacy" in sys.argv else app, port=int(sys.argv[2]), log_level="critical")
