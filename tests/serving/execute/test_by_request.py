"""Servers that a request names: connected to together, in time and on any terms, and gone with the request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from grammars.errors import RequestError, SourceFailed
from serving.execute.addresses import AllowedAddresses
from serving.execute.asked_servers import RemoteServer
from serving.execute.mcp.by_request import RequestServers, http_server
from tests.serving.execute.services import HttpMcpServer, listening, wait_for

PRIVATE = "http://10.0.0.1/mcp"
"""Refused without a try."""

LOOPBACK = AllowedAddresses(private=(ip_network("127.0.0.1/32"),))


def servers(allowed: AllowedAddresses = LOOPBACK, connect_timeout_s: float = 5.0) -> RequestServers:
    return RequestServers(allowed, connect_timeout_s=connect_timeout_s)


def asked(*urls: str, **more: Any) -> dict[str, tuple[str, RemoteServer]]:
    return {f"servers[{index}]": (f"s{index}", RemoteServer(url=url, **more)) for index, url in enumerate(urls)}


class OneTool:
    """A server of one tool, listed as the test says; it counts the sessions that were ended."""

    def __init__(self, **tool: Any) -> None:
        self.tool = {"name": "ask", "inputSchema": {"type": "object", "properties": {}}, **tool}
        self.ended = 0

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/mcp", self.answer, methods=["GET", "POST", "DELETE"])])

    async def answer(self, request: Request) -> Response:
        if request.method != "POST":
            self.ended += request.method == "DELETE"
            return Response(status_code=200 if request.method == "DELETE" else 405)
        said = await request.json()
        results: dict[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "one", "version": "1"},
            },
            "tools/list": {"tools": [self.tool]},
        }
        if "id" not in said:
            return Response(status_code=202)
        if said["method"] not in results:
            error = {"code": -32601, "message": "not found"}
            return JSONResponse({"jsonrpc": "2.0", "id": said["id"], "error": error})
        headers = {"Mcp-Session-Id": "one"} if said["method"] == "initialize" else {}
        result = results[said["method"]]
        return JSONResponse({"jsonrpc": "2.0", "id": said["id"], "result": result}, headers=headers)


@pytest.fixture(scope="module")
def standing() -> Iterator[HttpMcpServer]:
    server = HttpMcpServer()
    server.start()
    wait_for(server.port)
    yield server
    server.kill()


async def test_all_servers_are_open_at_once_and_their_tools_run(standing: HttpMcpServer) -> None:
    opener = servers()
    async with opener.opened(asked(standing.url, standing.url, include=("add", "put"))) as found:
        assert {place: [tool.tool.name for tool in tools] for place, tools in found.items()} == {
            "servers[0]": ["add", "put"],
            "servers[1]": ["add", "put"],
        }
        assert [tool.label for tools in found.values() for tool in tools] == ["s0", "s0", "s1", "s1"]
        assert await found["servers[1]"][0].runner.run({"one": 1, "other": 2}) == {"result": 3}
    await opener.close()


async def test_the_session_is_ended_behind_the_requests_back() -> None:
    server, opener = OneTool(), servers()
    with listening(server.app) as port:
        async with opener.opened(asked(f"http://127.0.0.1:{port}/mcp")):
            assert server.ended == 0
        await opener.close()
        assert server.ended == 1


async def test_of_several_servers_the_first_that_fails_is_named_and_none_stays_open() -> None:
    server, opener = OneTool(), servers(connect_timeout_s=20)
    with listening(server.app) as port:
        with pytest.raises(SourceFailed, match="'s1'") as caught:
            async with opener.opened(asked(f"http://127.0.0.1:{port}/mcp", PRIVATE, PRIVATE)):
                raise AssertionError("it must not open")
        await opener.close()
        assert caught.value.place == "servers[1]"
        assert server.ended == 1


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    opener = servers(connect_timeout_s=0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with asyncio.timeout(10):
            with pytest.raises(SourceFailed, match="did not answer within"):
                async with opener.opened(asked(f"http://127.0.0.1:{silent.getsockname()[1]}/mcp")):
                    raise AssertionError("it must not open")
            await opener.close()


async def test_a_request_that_is_cancelled_while_it_connects_leaves_nothing_behind() -> None:
    opener = servers(connect_timeout_s=30)

    async def connect(url: str) -> None:
        async with opener.opened(asked(url)):
            raise AssertionError("it must not open")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        connecting = asyncio.create_task(connect(f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"))
        accepted, _ = await asyncio.to_thread(silent.accept)
        connecting.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await opener.close()
        accepted.close()
    assert [task for task in asyncio.all_tasks() if "MCP" in task.get_name()] == []


@pytest.mark.parametrize("allowed", [AllowedAddresses(), AllowedAddresses(private=(ip_network("10.0.0.0/8"),))])
async def test_a_private_address_is_refused_unless_it_is_allowed(
    standing: HttpMcpServer, allowed: AllowedAddresses
) -> None:
    opener = servers(allowed)
    with pytest.raises(SourceFailed, match="private address"):
        async with opener.opened(asked(standing.url)):
            raise AssertionError("it must not open")
    await opener.close()


@pytest.mark.parametrize(
    ("tool", "raises", "says"),
    [
        ({"inputSchema": {"type": "object", "properties": {"n": {"type": "no type"}}}}, RequestError, "'ask'"),
        ({"inputSchema": {"type": "array"}}, SourceFailed, "cannot be used"),
        ({"description": "x" * 3_000_000}, SourceFailed, "larger than"),
        ({"inputSchema": "none"}, SourceFailed, "cannot be used"),
    ],
)
async def test_tools_that_cannot_be_offered_or_read_are_refused_at_their_servers_place(
    tool: Any, raises: type[RequestError], says: str
) -> None:
    opener = servers()
    with listening(OneTool(**tool).app) as port:
        with pytest.raises(raises, match=says) as caught:
            async with opener.opened(asked(f"http://127.0.0.1:{port}/mcp")):
                raise AssertionError("it must not open")
        await opener.close()
    assert type(caught.value) is raises
    assert caught.value.place == "servers[0]"


async def test_a_name_that_the_server_does_not_have_is_refused(standing: HttpMcpServer) -> None:
    opener = servers()
    with pytest.raises(RequestError, match="'nothing'"):
        async with opener.opened(asked(standing.url, include=("add", "nothing"))):
            raise AssertionError("it must not open")
    await opener.close()


def test_of_a_url_only_the_origin_is_known_above_the_transport() -> None:
    url = "https://tools.example:8443/a/path-of-20-letters/mcp?key=s3cret%20query&on=1"
    server = http_server(RemoteServer(url=url), LOOPBACK)
    assert server.url == "https://tools.example:8443/"
    assert server.target is not None
    assert server.target.reveal() == "/a/path-of-20-letters/mcp?key=s3cret%20query&on=1"
    assert {form for secret in server.secrets for form in secret.forms()} >= {"path-of-20-letters", "s3cret query"}
    assert "s3cret" not in repr(server)
    bare = http_server(RemoteServer(url="http://tools.example"), LOOPBACK)
    assert bare.target is not None
    assert bare.target.reveal() == "/"
