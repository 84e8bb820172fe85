"""MCP servers over streamable HTTP: real servers, killed and started again, and services that only look like one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from grammars.errors import ConfigurationError
from serving.execute.addresses import AllowedAddresses
from serving.execute.mcp.source import HttpServer, McpSource
from serving.execute.offered import Selection
from serving.execute.secret import Secret
from serving.execute.server_tool import ServerTool, ToolFailed, ToolRefused
from tests.serving.execute.services import SECRET, HttpMcpServer, is_secret_in, listening, opened, wait_for

LIMIT_BYTES = 100_000
LOOPBACK = AllowedAddresses(private=(ip_network("127.0.0.1/32"),))
NOBODY = "http://127.0.0.1:9/mcp"

Tools = dict[str, ServerTool]


def source_of(url: str, allowed: AllowedAddresses = LOOPBACK, **server: Any) -> McpSource:
    return McpSource(
        "mcp.web",
        HttpServer(url=url, allowed=allowed, **server),
        Selection(),
        answer_limit_bytes=LIMIT_BYTES,
        connect_timeout_s=20,
    )


@asynccontextmanager
async def tools_of(source: McpSource) -> AsyncIterator[Tools]:
    try:
        yield await opened(source)
    finally:
        await source.close()


@pytest.fixture(
    scope="module", params=[(), ("legacy",), ("legacy", "json")], ids=["today", "sessions", "sessions, json"]
)
def standing(request: pytest.FixtureRequest) -> Iterator[HttpMcpServer]:
    """A server that no test kills, in each of the ways in which servers speak."""
    server = HttpMcpServer(request.param)
    server.start()
    wait_for(server.port)
    yield server
    server.kill()


@pytest.fixture(params=[(), ("legacy",)], ids=["today", "sessions"])
def mortal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpMcpServer]:
    """A server to be killed. On a busy machine it may take long to be there again."""
    monkeypatch.setattr("serving.execute.mcp.http.RECONNECT_S", 60.0)
    server = HttpMcpServer(request.param)
    server.start()
    wait_for(server.port)
    yield server
    server.kill()


async def test_tools_are_listed_and_run_together(standing: HttpMcpServer) -> None:
    async with tools_of(source_of(standing.url)) as tools:
        assert tools["add"].facts.read_only
        assert await tools["add"].runner.run({"one": 1, "other": 2}) == {"result": 3}
        async with asyncio.timeout(8):  # one after another they would take twelve
            await asyncio.gather(*(tools["wait"].runner.run({"seconds": 1.5}) for _ in range(8)))


async def test_answer_of_100_mb_costs_its_own_call_only(standing: HttpMcpServer) -> None:
    async with tools_of(source_of(standing.url)) as tools:
        large, beside, small = await asyncio.gather(
            tools["letters"].runner.run({"count": 100_000_000}),
            tools["wait"].runner.run({"seconds": 0.5}),
            tools["letters"].runner.run({"count": 10}),
            return_exceptions=True,
        )
        assert isinstance(large, ToolRefused | ToolFailed)
        assert (beside, small) == ("waited", "x" * 10)


async def test_call_made_while_the_server_is_away_waits_for_it(mortal: HttpMcpServer) -> None:
    async with tools_of(source_of(mortal.url)) as tools:
        mortal.kill()
        calling = asyncio.create_task(tools["add"].runner.run({"one": 1, "other": 2}))
        await asyncio.sleep(0.5)
        mortal.start()
        assert await calling == {"result": 3}


async def test_server_that_was_started_again_is_asked_anew(mortal: HttpMcpServer) -> None:
    async with tools_of(source_of(mortal.url)) as tools:
        before = await tools["process_id"].runner.run({})
        mortal.kill()
        mortal.start()
        first, second = await asyncio.gather(*(tools["process_id"].runner.run({}) for _ in range(2)))
        assert first == second != before


async def test_call_on_which_the_server_dies_fails_as_unknown_and_runs_once(
    mortal: HttpMcpServer, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    async with tools_of(source_of(mortal.url)) as tools:
        with pytest.raises(ToolFailed, match="whether the call took effect is not known"):
            await tools["note_and_die"].runner.run({"path": str(path)})
        mortal.start()
        assert await tools["add"].runner.run({"one": 1, "other": 2}) == {"result": 3}
    assert path.read_text() == "ran\n"


async def test_call_to_a_server_that_stays_away_fails_as_not_reached(
    mortal: HttpMcpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tools_of(source_of(mortal.url)) as tools:
        monkeypatch.setattr("serving.execute.mcp.http.RECONNECT_S", 0.3)
        mortal.kill()
        with pytest.raises(ToolFailed, match="cannot be reached") as failure:
            await tools["add"].runner.run({"one": 1, "other": 2})
        assert "not known" not in str(failure.value)


async def test_private_address_is_refused_unless_allowed(standing: HttpMcpServer) -> None:
    for url in (standing.url, standing.url.replace("127.0.0.1", "localhost")):
        source = source_of(url, AllowedAddresses())
        with pytest.raises(ConfigurationError, match="private address"):
            await source.open()
        await source.close()


async def test_server_that_is_not_there_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.execute.mcp.http.RECONNECT_S", 0.1)
    monkeypatch.setattr("serving.execute.mcp.connection.RECONNECT_S", 0.1)
    source = source_of(NOBODY)
    with pytest.raises(ConfigurationError, match=r"mcp\.web"):
        await source.open()
    await source.close()


Answer = Callable[[dict[str, Any], Request], Response]


def speaking(answer: Answer) -> Starlette:
    """A server that lists one tool and answers its calls as the test says. It is not written with the SDK, which
    would not let it."""

    async def endpoint(request: Request) -> Response:
        if request.method != "POST":
            return Response(status_code=405)
        asked = await request.json()
        results: dict[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "faulty", "version": "1"},
            },
            "tools/list": {"tools": [{"name": "ask", "inputSchema": {"type": "object", "properties": {}}}]},
        }
        if "id" not in asked:
            return Response(status_code=202)
        if asked["method"] in results:
            return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]})
        if asked["method"] == "tools/call":
            return answer(asked, request)
        return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "not found"}})

    return Starlette(routes=[Route("/mcp", endpoint, methods=["GET", "POST", "DELETE"])])


def text_of(asked: dict[str, Any], text: str) -> Response:
    result = {"content": [{"type": "text", "text": text}]}
    return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "result": result})


def broken_off(_asked: dict[str, Any], _request: Request) -> Response:
    return Response('{"jsonrpc"', media_type="application/json", headers={"Content-Length": "5000"})


def long_event(_asked: dict[str, Any], _request: Request) -> Response:
    async def events() -> AsyncIterator[bytes]:
        yield b"data: "
        for _ in range(16):
            yield b"x" * 65536

    return StreamingResponse(events(), media_type="text/event-stream")


def ended_event(_asked: dict[str, Any], _request: Request) -> Response:
    return Response(b": nothing\n\n", media_type="text/event-stream")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda *_: Response("{", media_type="application/json"), "parse"),
        (lambda *_: Response("hello", media_type="text/html"), "content type"),
        (lambda *_: Response("[" * 100_000, media_type="application/json"), "parse"),
        (lambda *_: Response("x" * 200_000, media_type="application/json"), f"larger than {LIMIT_BYTES} bytes"),
        (lambda *_: Response(status_code=500), "error"),
        (lambda *_: Response(status_code=202), "202"),
        (lambda *_: RedirectResponse("http://127.0.0.2/mcp"), "not followed"),
        (broken_off, "broke off"),
        (long_event, "stream failed"),
        (ended_event, "without a response"),
        (lambda asked, _: JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": 1}}), "MCP"),
    ],
)
async def test_answer_that_is_spoiled_costs_its_own_call_only(answer: Answer, says: str) -> None:
    answers = iter([answer])
    with listening(speaking(lambda *asked: next(answers, lambda asked, _: text_of(asked, "fine"))(*asked))) as port:
        async with tools_of(source_of(f"http://127.0.0.1:{port}/mcp")) as tools:
            async with asyncio.timeout(10):
                with pytest.raises((ToolRefused, ToolFailed), match=says):
                    await tools["ask"].runner.run({})
            assert await tools["ask"].runner.run({}) == "fine"


async def test_secret_reaches_the_server_and_comes_back_neither_in_results_nor_in_logs_nor_in_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    sent: list[str] = []

    def echo(asked: dict[str, Any], request: Request) -> Response:
        sent.append(request.headers["Authorization"])
        match asked["params"]["arguments"]["how"]:
            case "value":
                return text_of(asked, sent[-1])
            case "error":
                error = {"code": -32000, "message": f"who is {sent[-1]}?"}
                return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "error": error})
            case "event":
                cut = json.loads(text_of(asked, sent[-1]).body)
                return StreamingResponse(pieces(f"data: {json.dumps(cut)}\n\n"), media_type="text/event-stream")
            case _:
                return Response(f'{{"jsonrpc": "{sent[-1]}', media_type="application/json")

    async def pieces(text: str) -> AsyncIterator[str]:
        for letter in text:
            yield letter

    with listening(speaking(echo)) as port:
        key = Secret("WEB_KEY", SECRET, prefix="Bearer ")
        async with tools_of(source_of(f"http://127.0.0.1:{port}/mcp", headers={"Authorization": key})) as tools:
            ask = tools["ask"].runner
            assert await ask.run({"how": "value"}) == "Bearer [secret WEB_KEY]"
            assert await ask.run({"how": "event"}) == "Bearer [secret WEB_KEY]"
            with pytest.raises(ToolFailed, match=r"who is Bearer \[secret WEB_KEY\]\?"):
                await ask.run({"how": "error"})
            with pytest.raises(ToolRefused) as failure:
                await ask.run({"how": "garbage"})
    assert sent == [f"Bearer {SECRET}"] * 4
    assert not is_secret_in(str(failure.value))
    assert not is_secret_in(caplog.text)
