"""Tools of the type `mcp` over Chat Completions, with real MCP servers: OpenAI's words, and LiteLLM's for what ran."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from grammars.constraint import Constraint
from serving.api.app import ApiOptions
from serving.callers import ApiKey, Caller
from serving.execute.addresses import AllowedAddresses
from serving.execute.database.journal import DatabaseJournal
from serving.execute.mcp.by_request import RequestServers
from serving.execute.mcp.source import HttpServer, McpSource
from serving.execute.offered import Selection
from serving.execute.registry import Registry
from serving.execute.toolbox import Toolbox
from tests.serving.api.api_server import Rounds, Said, Serve, Server
from tests.serving.api.openai_chat.chat import TOOLS, USER, ask, calls_of, deltas, result, stream
from tests.serving.execute.services import SECRET, HttpMcpServer, is_secret_in, listening, wait_for
from tests.wires.mcp_servers import LOOPBACK, Telltale, named

SUMS: Said = [("add", {"one": 1, "other": 2}), ("add", {"one": 3, "other": 4})]


@pytest.fixture
def serve_mcp(serve: Serve) -> Callable[..., Server]:
    """Starts a server that connects to the servers that requests name, on this machine too."""
    return lambda rounds, **options: serve(rounds, opener=RequestServers(LOOPBACK, connect_timeout_s=5.0), **options)


def fields(message: Any) -> dict[str, Any]:
    return dict(message.model_extra["provider_specific_fields"])


def report(answer: Any) -> dict[str, Any]:
    return dict(answer.model_extra["polycall"])


def refused(server: Server, *tools: Any, **request: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(server, tools=list(tools), **request)
    return caught.value


# What runs, and where it stands in the answer.


@pytest.mark.parametrize(
    ("count", "decoding"),
    [(0, "parallel"), (1, "parallel"), (2, "parallel"), (8, "parallel"), (8, "sequential"), (32, "parallel")],
)
def test_any_number_of_calls_runs_and_stands_in_the_answer_whole_and_streamed(
    serve_mcp: Any, mcp: HttpMcpServer, count: int, decoding: str
) -> None:
    calls = [("add", {"one": number, "other": 1}) for number in range(count)]
    server = serve_mcp([calls, "Added."] if calls else ["Added."])
    extension = {"decoding": decoding, "max_calls": max(count, 1)}
    request = {"tools": [named(mcp.url, allowed_tools=["add"])], "extra_body": {"polycall": extension}}
    whole = ask(server, **request)
    chunks = stream(server, **request)
    assert whole.choices[0].message.content == "Added."
    assert whole.choices[0].finish_reason == "stop"
    assert len(report(whole)["server_calls"]) == count
    first, last = fields(chunks[0].choices[0].delta), fields(chunks[-1].choices[0].delta)
    for said in (fields(whole.choices[0].message), {**first, **last}):
        assert [tool["function"]["name"] for tool in said["mcp_list_tools"]] == ["add"]
        called = [json.loads(call["function"]["arguments"]) for call in said["mcp_tool_calls"]]
        assert called == [arguments for _, arguments in calls]
        ids = [call["id"] for call in said["mcp_tool_calls"]]
        assert [came["tool_call_id"] for came in said["mcp_call_results"]] == ids
        assert [json.loads(came["result"]) for came in said["mcp_call_results"]] == [
            {"result": number + 1} for number in range(count)
        ]
    assert list(first) == ["mcp_list_tools"]
    assert not deltas(chunks)


def test_calls_of_one_round_run_together(serve_mcp: Any, mcp: HttpMcpServer) -> None:
    server = serve_mcp([[("wait", {"seconds": 0.3}), ("wait", {"seconds": 0.31})], "Waited."])
    one, other = report(ask(server, tools=[named(mcp.url)]))["server_calls"]
    assert max(one["start_s"], other["start_s"]) < min(one["end_s"], other["end_s"])


def test_a_tool_that_fails_is_read_by_the_model_beside_its_siblings_results(serve_mcp: Any, mcp: HttpMcpServer) -> None:
    server = serve_mcp([[("fail", {"words": "out of order"}), ("add", {"one": 1, "other": 2})], "One failed."])
    answer = ask(server, tools=[named(mcp.url)])
    bad, good = fields(answer.choices[0].message)["mcp_call_results"]
    assert json.loads(bad["result"]) == {"error": "tool_error", "message": "out of order"}
    assert json.loads(good["result"]) == {"result": 3}


def test_tools_of_the_request_the_server_and_the_client_stand_beside_each_other(
    serve_mcp: Any, mcp: HttpMcpServer
) -> None:
    own = Registry()

    @own.tool()
    def capital(country: str) -> str:
        return f"the capital of {country}"

    mixed: Said = [("capital", {"country": "Peru"}), ("weather", {"city": "Lima"}), ("add", {"one": 1, "other": 1})]
    server = serve_mcp([mixed, "Two."], registry=own)
    tools = [TOOLS[0], named(mcp.url, allowed_tools=["add"])]
    first = ask(server, tools=tools)
    message = first.choices[0].message
    assert calls_of(first) == [("weather", {"city": "Lima"})]
    assert [call["name"] for call in report(first)["server_calls"]] == ["capital", "add"]
    assert [call["function"]["name"] for call in fields(message)["mcp_tool_calls"]] == ["add"]
    again = [USER, message, result((message.tool_calls or [])[0].id)]
    assert ask(server, tools=tools, messages=again).choices[0].message.content == "Two."


def test_a_choice_may_name_a_tool_of_a_server(serve_mcp: Any, mcp: HttpMcpServer) -> None:
    server = serve_mcp([[("put", {"key": "a"})], "Put."])
    choice = {"type": "function", "function": {"name": "put"}}
    answer = ask(server, tools=[named(mcp.url)], tool_choice=choice)
    assert [call["name"] for call in report(answer)["server_calls"]] == ["put"]
    error = refused(server, named(mcp.url, allowed_tools=["add"]), tool_choice=choice)
    assert (error.status_code, error.param) == (400, "tool_choice")


def test_names_that_a_model_cannot_write_and_the_servers_description_are_read_by_it(
    serve_mcp: Any, mcp: HttpMcpServer
) -> None:
    read: list[str] = []

    def says(text: str, constraint: Constraint) -> Any:
        read.append(text)
        return Rounds([[("files_list", {})], "None."])(text, constraint)

    server = serve_mcp(says)
    tool = named(mcp.url, allowed_tools=["files/list"], server_description="the archive of 1912")
    answer = ask(server, tools=[tool])
    assert fields(answer.choices[0].message)["mcp_call_results"][0]["result"] == "no files"
    assert "the archive of 1912" in read[0]


# Approval.


@pytest.mark.parametrize(
    ("require", "asks"),
    [
        (None, ["add", "put"]),
        ("always", ["add", "put"]),
        ("never", []),
        ({"never": {"tool_names": ["add"]}}, ["put"]),
        ({"never": {"read_only": True}}, ["put"]),
        ({"always": {"tool_names": ["put"]}}, ["add", "put"]),
        ({"always": {"tool_names": ["put"]}, "never": {"tool_names": ["add", "put"]}}, ["put"]),
        ({}, ["add", "put"]),
    ],
)
def test_calls_wait_for_approval_unless_the_request_says_never(
    serve_mcp: Any, mcp: HttpMcpServer, require: Any, asks: list[str]
) -> None:
    server = serve_mcp([[("add", {"one": 1, "other": 2}), ("put", {"key": "a"})], "Done."])
    answer = ask(server, tools=[named(mcp.url, require_approval=require)])
    assert [call["name"] for call in report(answer)["approval_requests"]] == asks


def test_what_is_approved_runs_when_the_next_request_names_its_server_again(serve_mcp: Any, mcp: HttpMcpServer) -> None:
    server = serve_mcp([SUMS, "Three."])
    tools = [named(mcp.url, require_approval="always")]
    first = ask(server, tools=tools)
    said = [
        {"approval_request_id": call["id"], "approve": approve}
        for call, approve in zip(report(first)["approval_requests"], (True, False), strict=True)
    ]
    answer = ask(server, tools=tools, extra_body={"polycall": {"approvals": said}})
    good, bad = fields(answer.choices[0].message)["mcp_call_results"]
    assert json.loads(good["result"]) == {"result": 3}
    assert json.loads(bad["result"])["error"] == "denied"


def test_what_is_approved_does_not_run_where_its_server_is_not_named_any_more(
    serve_mcp: Any, mcp: HttpMcpServer
) -> None:
    server = serve_mcp([SUMS[:1], "Nothing."])
    first = ask(server, tools=[named(mcp.url, require_approval="always")])
    said = [{"approval_request_id": call["id"], "approve": True} for call in report(first)["approval_requests"]]
    answer = ask(server, extra_body={"polycall": {"approvals": said}})
    assert [call["error"]["kind"] for call in report(answer)["server_calls"]] == ["unknown_tool"]


# What cannot be honoured.


def test_servers_by_url_are_off_unless_the_operator_allows_them(serve: Serve, mcp: HttpMcpServer) -> None:
    error = refused(serve(), named(mcp.url))
    assert (error.status_code, error.param) == (400, "tools[0].server_url")
    assert "operator" in error.message


def test_a_private_address_is_refused_unless_the_operator_allows_it(serve: Serve, mcp: HttpMcpServer) -> None:
    error = refused(serve(opener=RequestServers(AllowedAddresses())), named(mcp.url))
    assert (error.status_code, error.code, error.param) == (424, "mcp_server_failed", "tools[0]")
    assert "private address" in error.message


def test_a_server_that_is_not_there_or_never_answers_is_an_error_in_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.execute.mcp.http.RECONNECT_S", 0.1)
    server = serve(opener=RequestServers(LOOPBACK, connect_timeout_s=0.5))

    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (9, silent.getsockname()[1]):
            url = f"http://127.0.0.1:{port}/mcp"
            begin_s = time.monotonic()
            for streamed in (False, True):
                with pytest.raises(openai.APIStatusError, match="'sums'") as caught:
                    server.client.chat.completions.create(
                        model="scripted", messages=[USER], tools=[TOOLS[0], named(url)], stream=streamed
                    )
                assert (caught.value.status_code, caught.value.param) == (424, "tools[1]")
            assert time.monotonic() - begin_s < 5


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (named("", "more"), "'sums'"),
        (named("", "sums"), "already given to another server"),
        (named("", "more", allowed_tools=["nothing"]), "no tool 'nothing'"),
        (named("", "more", allowed_tools=["put"]), None),
    ],
)
def test_two_servers_need_labels_and_tools_of_different_names(
    serve_mcp: Any, mcp: HttpMcpServer, second: Any, says: str | None
) -> None:
    tools = [named(mcp.url, allowed_tools=["add"]), {**second, "server_url": mcp.url}]
    server = serve_mcp(["Fine."])
    if says is None:
        assert len(fields(ask(server, tools=tools).choices[0].message)["mcp_list_tools"]) == 2
        return
    error = refused(server, *tools)
    assert error.status_code == 400
    assert str(error.param).startswith("tools[1]")
    assert says in error.message


def test_a_function_that_has_the_name_of_a_servers_tool_is_refused_where_it_stands(
    serve_mcp: Any, mcp: HttpMcpServer
) -> None:
    clash = {"type": "function", "function": {"name": "add"}}
    error = refused(serve_mcp(["unused"]), named(mcp.url), TOOLS[0], clash)
    assert (error.status_code, error.param) == (400, "tools[2].function.name")


# What the operator configured.


@pytest.fixture
def house(mcp: HttpMcpServer) -> Toolbox:
    """A function of the operator's, and an MCP server that the operator configured as `archive`."""
    registry = Registry()

    @registry.tool()
    def capital(country: str) -> str:
        return country

    source = McpSource(
        "mcp.archive",
        HttpServer(url=mcp.url, allowed=LOOPBACK),
        Selection(include=["add", "put", "delete"]),
        answer_limit_bytes=100_000,
        connect_timeout_s=5,
    )
    return Toolbox(registry=registry, sources=[source])


@pytest.mark.parametrize(
    ("url", "more", "offers"),
    [
        ("polycall", {}, ["capital", "add", "put", "delete"]),
        ("litellm_proxy", {"allowed_tools": ["capital", "put"]}, ["capital", "put"]),
        ("polycall/mcp/archive", {}, ["add", "put", "delete"]),
        ("litellm_proxy/mcp/archive", {"allowed_tools": ["add"]}, ["add"]),
        ("polycall", {"allowed_tools": {"read_only": True}}, ["add"]),
        ("polycall/mcp/archive,polycall", {}, ["capital", "add", "put", "delete"]),
        ("polycall", {"allowed_tools": []}, []),
    ],
)
def test_the_operators_tools_can_be_named_and_narrowed_without_any_setting(
    serve: Serve, house: Toolbox, url: str, more: Any, offers: list[str]
) -> None:
    server = serve(["Fine."], toolbox=house)
    answer = ask(server, tools=[named(url, "here", **more)])
    assert [tool["function"]["name"] for tool in fields(answer.choices[0].message)["mcp_list_tools"]] == offers


@pytest.mark.parametrize(("url", "place"), [("polycall/mcp/nothing", "server_url"), ("polycall/mcp/", "server_url")])
def test_a_source_that_the_operator_does_not_have_is_refused(
    serve: Serve, house: Toolbox, url: str, place: str
) -> None:
    error = refused(serve(toolbox=house), named(url, "here"))
    assert (error.status_code, error.param) == (400, f"tools[0].{place}")


def test_what_the_operator_wants_approved_stays_so_and_the_request_may_ask_for_more(
    serve: Serve, house: Toolbox
) -> None:
    said: Said = [("delete", {"key": "a"}), ("put", {"key": "b"})]
    server = serve([said, "Done."], toolbox=house)
    for require, asks in (("never", ["delete"]), ("always", ["delete", "put"])):
        answer = ask(server, tools=[named("polycall", "here", require_approval=require)])
        assert [call["name"] for call in report(answer)["approval_requests"]] == asks


def test_a_callers_rules_hold_for_the_operators_tools_and_not_for_servers_of_its_own(
    serve_mcp: Any, house: Toolbox, mcp: HttpMcpServer
) -> None:
    key = ApiKey(key="sesame", caller=Caller(name="one", deny=("add", "delete")))
    server = serve_mcp([SUMS, "Sums."], toolbox=house, options=ApiOptions(keys=(key,)))
    tools = [named("polycall", "here"), named(mcp.url, allowed_tools=["add"])]
    answer = ask(server, tools=tools)
    listed = [tool["function"]["name"] for tool in fields(answer.choices[0].message)["mcp_list_tools"]]
    assert listed == ["capital", "put", "add"]
    assert [call["error"] for call in report(answer)["server_calls"]] == [None, None]


# Again, and in secret.


def test_an_answer_under_a_key_is_given_again_without_its_server(serve_mcp: Any, tmp_path: Path) -> None:
    mortal = HttpMcpServer()
    mortal.start()
    wait_for(mortal.port)
    server = serve_mcp([SUMS, "Sums."], journal=DatabaseJournal(f"sqlite:///{tmp_path}/journal.sqlite3"))
    headers = {"Idempotency-Key": "one"}
    try:
        first = ask(server, tools=[named(mortal.url, authorization="the-first-token")], extra_headers=headers)
    finally:
        mortal.kill()
    renewed = named(mortal.url, authorization="one-that-is-newer")
    again = ask(server, tools=[renewed], extra_headers=headers)
    assert again.choices == first.choices
    assert report(again)["server_calls"] == report(first)["server_calls"]


def test_credentials_reach_the_server_and_nothing_else(
    serve_mcp: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    telltale, read = Telltale(), list[str]()

    def says(text: str, constraint: Constraint) -> Any:
        read.append(text)
        return Rounds([[("ask", {})], "Told."])(text, constraint)

    path = tmp_path / "journal.sqlite3"
    server = serve_mcp(says, journal=DatabaseJournal(f"sqlite:///{path}"))
    with listening(telltale.app) as port:
        tools = [telltale.named(port)]
        answer = ask(server, tools=tools)
        chunks = stream(server, tools=tools)
    assert telltale.heard[0].startswith(f"Bearer {SECRET} Bearer {SECRET} {tools[0]['server_url']}")
    came = fields(answer.choices[0].message)["mcp_call_results"][0]["result"]
    assert "[secret authorization]" in came or "[secret X-Key]" in came
    for told in (
        answer.model_dump_json(),
        *(chunk.model_dump_json() for chunk in chunks),
        *read,
        caplog.text,
        *(file.read_bytes().decode(errors="replace") for file in tmp_path.iterdir()),
    ):
        assert not is_secret_in(told)
