"""Tools of the type `mcp` in a request: what is read, what is refused and where, and that credentials do not show."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from grammars.errors import RequestError
from grammars.tools import Tool, json_text
from serving.api.mcp_tools import McpTool, asked_servers, tool_places
from serving.api.openai_chat.wire import FunctionTool
from serving.api.wire import Wire, read_request
from serving.execute.asked_servers import OwnServers, RemoteServer
from serving.execute.facts import ToolFacts
from serving.execute.secret import Redactor
from serving.execute.server_tool import ServerTool

URL = "https://tools.example:8443/mcp/s3cret-path?key=s3cret-query"
TOKEN = "s3cret-token"


def tool(**fields: Any) -> McpTool:
    given = {"type": "mcp", "server_label": "shop", "server_url": URL, **fields}
    return read_request(
        json_text({name: value for name, value in given.items() if value is not None}).encode(), McpTool
    )


def remote(**fields: Any) -> RemoteServer:
    where = tool(**fields).asked("tools[0]").where
    assert isinstance(where, RemoteServer)
    return where


def sent(server: RemoteServer) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in server.headers.items()}


@pytest.mark.parametrize(
    ("url", "labels"),
    [
        ("polycall", None),
        ("litellm_proxy", None),
        ("polycall/mcp/archive", ("archive",)),
        ("litellm_proxy/mcp/archive,shop", ("archive", "shop")),
    ],
)
def test_the_operators_servers_have_words_of_their_own(url: str, labels: Any) -> None:
    assert tool(server_url=url).asked("tools[0]").where == OwnServers(labels=labels)


@pytest.mark.parametrize("url", [URL, "http://10.1.2.3/mcp", "https://polycall/mcp/archive", "https://[2001:db8::1]/"])
def test_anything_else_is_the_url_of_a_server(url: str) -> None:
    assert remote(server_url=url).url == url


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, {}),
        ({"authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}),
        ({"headers": {"authorization": f"Bearer {TOKEN}"}}, {"authorization": f"Bearer {TOKEN}"}),
        ({"headers": {"X-Api-Key": TOKEN, "X-Region": "eu"}}, {"X-Api-Key": TOKEN, "X-Region": "eu"}),
        ({"headers": {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}}, {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}),
        ({"headers": {"Authorization": "Basic not+base64!!"}}, {"Authorization": "Basic not+base64!!"}),
    ],
)
def test_headers_are_sent_as_they_were_given(fields: Any, headers: dict[str, str]) -> None:
    assert sent(remote(**fields)) == headers


@pytest.mark.parametrize(
    ("header", "comes_back"),
    [
        (TOKEN, TOKEN),
        (f"Bearer {TOKEN}", TOKEN),
        (f"Bearer {TOKEN}", f"who is Bearer {TOKEN}?"),
        (f"Basic {base64.b64encode(b'user:' + TOKEN.encode()).decode()}", TOKEN),
        (
            f"Basic {base64.b64encode(b'user:' + TOKEN.encode()).decode()}",
            base64.b64encode(b"user:s3cret-token").decode(),
        ),
    ],
)
def test_a_credential_that_comes_back_is_taken_out_in_every_form(header: str, comes_back: str) -> None:
    redactor = Redactor(remote(headers={"X-Key": header}).headers.values())
    told = redactor.text(comes_back)
    assert "[secret X-Key]" in told
    assert TOKEN not in told


def test_credentials_show_neither_in_a_repr_nor_in_what_is_written_down_nor_in_an_echo() -> None:
    asked = tool(authorization=TOKEN, headers={"X-Key": TOKEN})
    for told in (repr(asked), str(asked), asked.model_dump_json(), repr(asked.asked("tools[0]"))):
        assert TOKEN not in told
    assert asked.echoed().model_dump(exclude_unset=True) == {
        "type": "mcp",
        "server_label": "shop",
        "server_url": "https://tools.example:8443",
    }
    assert tool(server_url="polycall/mcp/a").echoed().server_url == "polycall/mcp/a"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"server_label": "1shop"}, "server_label"),
        ({"server_label": "my shop"}, "server_label"),
        ({"server_label": None}, "server_label"),
        ({"server_url": None}, "server_url"),
        ({"connector_id": "connector_gmail"}, "connector_id"),
        ({"tunnel_id": "t"}, "tunnel_id"),
        ({"defer_loading": True}, "defer_loading"),
        ({"allowed_callers": ["programmatic"]}, "allowed_callers[0]"),
        ({"require_approval": "sometimes"}, "require_approval"),
        ({"allowed_tools": "add"}, "allowed_tools"),
        ({"secret": 1}, "secret"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_when_it_is_read(fields: Any, place: str) -> None:
    with pytest.raises(RequestError) as caught:
        tool(**fields)
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"server_url": "ftp://tools.example"}, "server_url"),
        ({"server_url": "tools.example/mcp"}, "server_url"),
        ({"server_url": "https://"}, "server_url"),
        ({"server_url": "https://tools.example:99999/"}, "server_url"),
        ({"server_url": "https://tools.example/ mcp"}, "server_url"),
        ({"server_url": f"https://user:{TOKEN}@tools.example/"}, "server_url"),
        ({"server_url": "polycall", "authorization": TOKEN}, "authorization"),
        ({"server_url": "polycall", "headers": {"X-Key": TOKEN}}, "headers"),
        ({"authorization": "short"}, "authorization"),
        ({"authorization": f"{TOKEN}\r\nHost: else.example"}, "authorization"),
        ({"authorization": TOKEN, "headers": {"AUTHORIZATION": TOKEN}}, "authorization"),
        ({"headers": {"X-Key": TOKEN, "x-key": TOKEN}}, "headers"),
        ({"headers": {"X-Key": "short"}}, "headers.X-Key"),
        ({"headers": {"X-Name": "häuser"}}, "headers.X-Name"),
        ({"headers": {"Host": "else.example"}}, "headers.Host"),
        ({"headers": {"Content-Length": "0"}}, "headers.Content-Length"),
        ({"headers": {"Mcp-Session-Id": "of another"}}, "headers.Mcp-Session-Id"),
        ({"headers": {"X Y": "text"}}, "headers.X Y"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_place_and_repeats_no_credential(fields: Any, place: str) -> None:
    with pytest.raises(RequestError) as caught:
        tool(**fields).asked("tools[3]")
    assert caught.value.place == f"tools[3].{place}"
    assert TOKEN not in str(caught.value)


def server_tool(name: str, *, read_only: bool = False) -> ServerTool:
    return ServerTool(tool=Tool(name=name), facts=ToolFacts(read_only=read_only), runner=None)  # type: ignore[arg-type]


LOOK, DROP = server_tool("files_list", read_only=True), server_tool("drop")


@pytest.mark.parametrize(
    ("allowed", "takes"),
    [
        (None, [True, True]),
        ([], [False, False]),
        (["files/list"], [True, False]),
        ({"tool_names": ["drop"]}, [False, True]),
        ({"read_only": True}, [True, False]),
        ({"read_only": False}, [False, True]),
        ({"read_only": True, "tool_names": ["drop"]}, [False, False]),
        ({}, [True, True]),
    ],
)
def test_allowed_tools_narrow_by_name_and_by_being_read_only(allowed: Any, takes: list[bool]) -> None:
    rule = tool(allowed_tools=allowed).asked("tools[0]").allowed
    assert [rule.takes(LOOK), rule.takes(DROP)] == takes


@pytest.mark.parametrize(
    ("require", "asks"),
    [
        (None, [True, True]),
        ("always", [True, True]),
        ("never", [False, False]),
        ({"never": {"read_only": True}}, [False, True]),
        ({"always": {"tool_names": ["drop"]}}, [True, True]),
        ({"always": {"tool_names": ["drop"]}, "never": {}}, [False, True]),
    ],
)
def test_every_call_wants_approval_but_those_of_never(require: Any, asks: list[bool]) -> None:
    rule = tool(require_approval=require).asked("tools[0]").approval
    assert [rule.asks_for(LOOK), rule.asks_for(DROP)] == asks


FUNCTION = FunctionTool.model_validate({"type": "function", "function": {"name": "weather"}})


def test_labels_differ_and_servers_are_few() -> None:
    labels = [tool(server_label=f"s{number}") for number in range(17)]
    mixed: list[Wire] = [FUNCTION, *labels[:16]]
    assert [server.label for server in asked_servers(mixed)] == [f"s{number}" for number in range(16)]
    assert asked_servers(None) == ()
    with pytest.raises(RequestError, match="more than 16") as caught:
        asked_servers(labels)
    assert caught.value.place == "tools[16]"
    with pytest.raises(RequestError, match="already given") as caught:
        asked_servers([FUNCTION, labels[0], labels[0]])
    assert caught.value.place == "tools[2].server_label"


def test_places_of_a_turn_are_told_as_the_request_has_them() -> None:
    places = tool_places([tool(server_label="a"), FUNCTION, tool(server_label="b"), FUNCTION])
    assert places.of("servers[1].server_url") == "tools[2].server_url"
    assert places.of("tools[1].function.name") == "tools[3].function.name"
    assert tool_places([tool(), FUNCTION], function="").of("tools[0].function.name") == "tools[1].name"
    assert places.of("messages[0]") == "messages[0]"
