"""Tools of the type `mcp` over Responses, with real MCP servers and the real client."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response

from serving.execute.addresses import AllowedAddresses
from serving.execute.database.journal import DatabaseJournal
from serving.execute.mcp.by_request import RequestServers
from tests.serving.api.api_server import Call, Serve, Server
from tests.serving.execute.services import SECRET, HttpMcpServer, is_secret_in, listening
from tests.wires.mcp_servers import LOOPBACK, Telltale, named


def ask(server: Server, **fields: Any) -> Response:
    answer = server.client.responses.create(**{"model": server.engine.model, "input": "Add.", **fields})
    assert isinstance(answer, Response)
    return answer


def opener() -> RequestServers:
    return RequestServers(LOOPBACK, connect_timeout_s=5.0)


@pytest.mark.parametrize("count", [0, 1, 2, 8, 32])
def test_any_number_of_calls_is_listed_run_and_shown_with_its_own_result(
    serve: Serve, mcp: HttpMcpServer, count: int
) -> None:
    calls: list[Call] = [("add", {"one": number, "other": 1}) for number in range(count)]
    server = serve([calls, "Added."] if calls else ["Added."], opener=opener())
    answer = ask(
        server,
        tools=[named(mcp.url, allowed_tools=["add"])],
        extra_body={"polycall": {"max_calls": max(count, 1)}},
    )
    listed, *ran, _message = answer.output
    assert listed.type == "mcp_list_tools"
    assert (listed.server_label, [tool.name for tool in listed.tools]) == ("sums", ["add"])
    calls_shown = [item for item in ran if item.type == "mcp_call"]
    assert len(calls_shown) == len(ran)
    shown = [(item.server_label, json.loads(item.arguments), json.loads(item.output or "")) for item in calls_shown]
    # Items stand in the order in which their calls began, which is that in which their branches ended.
    assert sorted(shown, key=lambda one: one[1]["one"]) == [
        ("sums", {"one": number, "other": 1}, {"result": number + 1}) for number in range(count)
    ]
    assert answer.output_text == "Added."


def test_calls_wait_for_approval_by_default_and_go_on_with_the_response_before(
    serve: Serve, mcp: HttpMcpServer
) -> None:
    server = serve([[("add", {"one": 1, "other": 2}), ("put", {"key": "a"})], "Done."], opener=opener())
    tools = [named(mcp.url, require_approval={"never": {"read_only": True}})]
    first = ask(server, tools=tools)
    [asks] = [item for item in first.output if item.type == "mcp_approval_request"]
    assert (asks.name, asks.server_label) == ("put", "sums")
    said = {"type": "mcp_approval_response", "approval_request_id": asks.id, "approve": True}
    second = ask(server, tools=tools, input=[said], previous_response_id=first.id)
    [ran] = [item for item in second.output if item.type == "mcp_call"]
    assert ran.output is not None
    assert (json.loads(ran.output), ran.approval_request_id) == ({"result": "put a"}, asks.id)


def test_a_choice_may_be_one_of_several_servers(serve: Serve, mcp: HttpMcpServer) -> None:
    server = serve([[("put", {"key": "a"})], "Put."], opener=opener())
    tools = [named(mcp.url, allowed_tools=["add"]), named(mcp.url, "things", allowed_tools=["put"])]
    answer = ask(server, tools=tools, tool_choice={"type": "mcp", "server_label": "things"})
    assert [item.server_label for item in answer.output if item.type == "mcp_call"] == ["things"]


@pytest.mark.parametrize(
    ("allowed", "status", "place"), [(None, 400, "tools[0].server_url"), (AllowedAddresses(), 424, "tools[0]")]
)
def test_a_server_that_may_not_be_connected_to_is_an_error_of_this_wire(
    serve: Serve, mcp: HttpMcpServer, allowed: AllowedAddresses | None, status: int, place: str
) -> None:
    server = serve(opener=None if allowed is None else RequestServers(allowed))
    with pytest.raises(openai.APIStatusError) as caught:
        ask(server, tools=[named(mcp.url)])
    assert (caught.value.status_code, caught.value.param) == (status, place)


def test_credentials_are_neither_told_nor_kept(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    telltale = Telltale()
    journal = DatabaseJournal(f"sqlite:///{tmp_path}/journal.sqlite3")
    server = serve([[("ask", {})], "Told."], opener=opener(), journal=journal)
    with listening(telltale.app) as port:
        body = {"model": "scripted", "input": "Ask.", "tools": [telltale.named(port)]}
        whole = httpx.post(f"{server.url}/v1/responses", json=body, timeout=20).text
        streamed = httpx.post(f"{server.url}/v1/responses", json={**body, "stream": True}, timeout=20).text
    assert telltale.heard[0].startswith(f"Bearer {SECRET} ")
    again = httpx.get(f"{server.url}/v1/responses/{json.loads(whole)['id']}").text
    assert json.loads(again)["tools"][0]["server_url"] == f"http://127.0.0.1:{port}"
    kept = [file.read_bytes().decode(errors="replace") for file in tmp_path.iterdir()]
    for told in (whole, streamed, again):
        assert "[secret " in told
    for told in (whole, streamed, again, caplog.text, *kept):
        assert not is_secret_in(told)
