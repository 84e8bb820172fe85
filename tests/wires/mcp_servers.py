"""MCP servers that requests name, for the tests of the wires that take them."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.execute.addresses import AllowedAddresses
from tests.serving.execute.services import SECRET

LOOPBACK = AllowedAddresses(private=(ip_network("127.0.0.1/32"),))


def named(url: str, label: str = "sums", **more: Any) -> Any:
    """The server as a request names it, its tools to be run unasked."""
    return {"type": "mcp", "server_label": label, "server_url": url, "require_approval": "never", **more}


@dataclass
class Telltale:
    """A server of one tool, `ask`, that tells everybody with which credentials it was asked."""

    heard: list[str] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST", "DELETE"])])

    def named(self, port: int, **more: Any) -> Any:
        """As a request names it that listens on this port, with secrets wherever they can be."""
        url = f"http://127.0.0.1:{port}/s3cret-of-the-path/mcp?key=s3cret-of-the-query"
        return named(url, "telltale", authorization=SECRET, headers={"X-Key": f"Bearer {SECRET}"}, **more)

    async def answer(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(status_code=405)
        told = f"{request.headers.get('Authorization')} {request.headers.get('X-Key')} {request.url}"
        asked = await request.json()
        if "id" not in asked:
            return Response(status_code=202)
        tool = {"name": "ask", "description": told, "inputSchema": {"type": "object", "properties": {}}}
        results: dict[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "telltale", "version": "1"},
            },
            "tools/list": {"tools": [tool]},
            "tools/call": {"content": [{"type": "text", "text": told}]},
        }
        if asked["method"] not in results:
            error = {"code": -32601, "message": told}
            return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        self.heard.append(told)
        return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]})
