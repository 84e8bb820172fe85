"""Whose tools a turn runs: the server's own, narrowed or whole, beside those of servers that the request names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from grammars.conversation import Choice, Message
from grammars.errors import RequestError
from grammars.tools import Tool
from serving.callers import Caller
from serving.decode.round import RoundRequest
from serving.execute.asked_servers import AskedServer, OwnServers, RemoteServer, ToolFilter
from serving.execute.execute import Executor
from serving.execute.facts import ToolFacts
from serving.execute.registry import Registry
from serving.execute.server_tool import ServerTool
from serving.turn_request import TurnRequest
from serving.turn_tools import TurnTools, own_tools, tools_of

URL = RemoteServer(url="https://tools.example/mcp")


def tool(name: str, label: str) -> ServerTool:
    return ServerTool(tool=Tool(name=name), facts=ToolFacts(), runner=None, label=label)  # type: ignore[arg-type]


class Opener:
    """Connects to servers that have the tools of their labels, letter by letter."""

    @asynccontextmanager
    async def opened(self, asked: Mapping[str, tuple[str, RemoteServer]]) -> AsyncIterator[dict[str, list[ServerTool]]]:
        yield {place: [tool(letter, label) for letter in label] for place, (label, _) in asked.items()}

    async def close(self) -> None: ...


def executor() -> Executor:
    registry = Registry()
    for found in (tool("own", "polycall"), tool("find", "notes"), tool("drop", "notes")):
        registry.add(found)
    return Executor(registry)


def asking(*servers: AskedServer, **fields: Any) -> TurnRequest:
    return TurnRequest(messages=(Message(role="user", text="?"),), round=RoundRequest(), servers=servers, **fields)


def remote(label: str, **more: Any) -> AskedServer:
    return AskedServer(label=label, where=URL, **more)


def own(*labels: str, name: str = "mine", **more: Any) -> AskedServer:
    return AskedServer(label=name, where=OwnServers(labels=labels or None), **more)


async def found(request: TurnRequest, caller: Caller | None = None) -> TurnTools:
    async with tools_of(request, own_tools(executor(), caller or Caller()), Opener()) as tools:
        return tools


@pytest.mark.parametrize(
    ("servers", "runs"),
    [
        ([remote("ab")], ["own", "find", "drop", "a", "b"]),
        ([remote("ab", allowed=ToolFilter(names=("b",)))], ["own", "find", "drop", "b"]),
        ([own()], ["own", "find", "drop"]),
        ([own("notes")], ["find", "drop"]),
        ([own("notes", allowed=ToolFilter(names=("find",))), remote("a")], ["find", "a"]),
        ([own("notes"), own("polycall", name="other")], ["find", "drop", "own"]),
    ],
)
async def test_naming_any_of_the_servers_own_tools_leaves_just_the_named(
    servers: list[AskedServer], runs: list[str]
) -> None:
    assert [tool.name for tool in (await found(asking(*servers))).executor.tools] == runs


async def test_what_a_caller_may_not_use_is_not_there_to_be_named() -> None:
    caller = Caller(deny=("drop", "a"))
    tools = await found(asking(own(), remote("a")), caller)
    assert [tool.name for tool in tools.executor.tools] == ["own", "find", "a"]
    with pytest.raises(RequestError, match="'notes'"):
        await found(asking(own("notes")), Caller(allow=("own",)))


async def test_wires_are_told_the_labels_of_the_request_and_of_sources() -> None:
    listed = (await found(asking(remote("ab")))).listed
    assert listed is not None
    assert listed.labels == {"find": "notes", "drop": "notes", "a": "ab", "b": "ab"}
    assert [(server.label, [tool.name for tool in server.tools]) for server in listed.servers] == [("ab", ["a", "b"])]
    renamed = (await found(asking(own("notes")))).listed
    assert renamed is not None
    assert renamed.labels == {"find": "mine", "drop": "mine"}
    assert TurnTools(executor=Executor(Registry())).listed is None


@pytest.mark.parametrize(
    ("servers", "place"),
    [
        ([remote("ab"), remote("bc")], "servers[1]"),
        ([own("notes"), own("notes", name="again")], "servers[1]"),
        ([own("nothing")], "servers[0].server_url"),
        ([remote("a"), own("notes", allowed=ToolFilter(names=("fnid",)))], "servers[1].allowed_tools"),
    ],
)
async def test_tools_that_two_have_or_none_are_refused_by_place(servers: list[AskedServer], place: str) -> None:
    with pytest.raises(RequestError) as caught:
        await found(asking(*servers))
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("choice", "labels", "allowed"),
    [
        (Choice(mode="required"), {"ab"}, {"a", "b"}),
        (Choice(mode="auto", allowed=frozenset({"own"})), {"ab"}, {"own", "a", "b"}),
        (Choice(mode="required"), {"ab", "notes"}, {"a", "b", "find", "drop"}),
        (Choice(mode="auto"), set(), None),
    ],
)
async def test_a_choice_of_servers_is_one_of_their_tools(choice: Choice, labels: set[str], allowed: Any) -> None:
    request = asking(remote("ab"), choice=choice, choice_servers=frozenset(labels))
    read = (await found(request)).choice(request)
    assert read is not None
    assert (read.mode, read.allowed) == (choice.mode, allowed)


async def test_a_choice_of_a_server_that_is_not_there_is_refused() -> None:
    request = asking(remote("ab"), choice=Choice(mode="required"), choice_servers=frozenset({"ba"}))
    with pytest.raises(RequestError, match="'ba'") as caught:
        (await found(request)).choice(request)
    assert caught.value.place == "tool_choice"


async def test_where_servers_turn_out_to_have_no_tools_only_a_choice_that_needs_some_remains() -> None:
    nothing = own(allowed=ToolFilter(names=()))
    for choice, remains in ((Choice(), False), (Choice(mode="required"), True), (Choice(least=1), True)):
        request = asking(nothing, choice=choice)
        assert ((await found(request)).choice(request) is not None) == remains
