"""Which tools the server runs in one turn: its own, as the caller and the request allow, and those of servers that the
request names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from grammars.conversation import Choice
from grammars.errors import RequestError
from serving.callers import Caller
from serving.execute.asked_servers import AskedServer, OwnServers, RemoteServer
from serving.execute.execute import Executor
from serving.execute.offered import tool_name
from serving.execute.server_tool import OWN, ServerTool
from serving.turn_events import ListedServer, ToolsListed
from serving.turn_request import TurnRequest


class ServerOpener(Protocol):
    """What connects to the servers that requests name."""

    def opened(
        self, asked: Mapping[str, tuple[str, RemoteServer]]
    ) -> AbstractAsyncContextManager[dict[str, list[ServerTool]]]:
        """While inside, the tools of these servers, each given by its place in the request with its label."""
        ...

    async def close(self) -> None:
        """Wait until all servers are disconnected from."""
        ...


@dataclass(frozen=True, kw_only=True)
class TurnTools:
    """What runs a turn's calls, and what wires tell of it."""

    executor: Executor
    servers: tuple[ListedServer, ...] = ()

    @property
    def listed(self) -> ToolsListed | None:
        """The event, if there is anything to tell."""
        labels = {tool.tool.name: tool.label for tool in self.executor.server_tools if tool.label != OWN}
        return ToolsListed(labels=labels, servers=self.servers) if labels or self.servers else None

    def choice(self, request: TurnRequest) -> Choice | None:
        """The request's choice, its servers replaced by their tools. None where there is nothing to choose from."""
        choice, labels = request.choice, request.choice_servers
        if choice is not None and labels:
            tools = [tool for tool in self.executor.server_tools if tool.label in labels]
            unknown = sorted(labels - {tool.label for tool in tools})
            if unknown:
                words = f"no tool is of the server {', '.join(map(repr, unknown))}"
                raise RequestError(words, place="tool_choice")
            names = frozenset(tool.tool.name for tool in tools)
            choice = replace(choice, allowed=names | (choice.allowed or frozenset()))
        asks_for_nothing = choice is not None and choice.mode == "auto" and not (choice.least or choice.exact)
        if request.servers and asks_for_nothing and not (request.tools or self.executor.tools):
            return None  # the servers turned out to have no tools
        return choice


def own_tools(executor: Executor, caller: Caller) -> Executor:
    """The server's own tools that this caller may use."""
    if caller.allow is None and not caller.deny:
        return executor
    return executor.only(tool for tool in executor.server_tools if caller.may_use(tool.tool.name))


@asynccontextmanager
async def tools_of(request: TurnRequest, own: Executor, opener: ServerOpener | None) -> AsyncIterator[TurnTools]:
    """The tools of a turn that names servers, connected to meanwhile. `own` are those that its caller may use.

    Raises `RequestError` at the place `servers[0]` and so on: for a server that may not be connected to or has not what
    is asked of it, for names of tools that are not there or that two servers have; and `SourceFailed`.
    """
    places = {f"servers[{index}]": server for index, server in enumerate(request.servers)}
    remote = {
        place: (asked.label, asked.where) for place, asked in places.items() if isinstance(asked.where, RemoteServer)
    }
    found: dict[str, list[ServerTool]] = {
        place: tools_of_own(own, asked.where, place)
        for place, asked in places.items()
        if isinstance(asked.where, OwnServers)
    }
    beside = [] if found else list(own.server_tools)
    if remote and opener is None:
        raise RequestError(
            "this server connects to no MCP servers that requests name, unless its operator allows it (request_mcp)",
            place=f"{next(iter(remote))}.server_url",
        )
    if opener is None:
        yield chosen(own, places, found, beside)
        return
    async with opener.opened(remote) as connected:
        yield chosen(own, places, {**found, **connected}, beside)


def chosen(
    own: Executor,
    places: Mapping[str, AskedServer],
    found: Mapping[str, Sequence[ServerTool]],
    beside: Sequence[ServerTool],
) -> TurnTools:
    """The tools of all servers on the request's terms, and `beside` them."""
    taken = {tool.tool.name: tool for tool in beside}
    servers = []
    for place, asked in places.items():
        names = {tool.tool.name for tool in found[place]}
        unknown = [name for name in asked.allowed.names or () if tool_name(name) not in names]
        if unknown:
            words = f"the server {asked.label!r} has no tool {', '.join(map(repr, unknown))}"
            raise RequestError(words, place=f"{place}.allowed_tools")
        mine = [on_terms(tool, asked) for tool in found[place] if asked.allowed.takes(tool)]
        for tool in mine:
            other = taken.setdefault(tool.tool.name, tool)
            if other is not tool:
                raise RequestError(
                    f"the server {asked.label!r} has a tool {tool.tool.name!r}, and so has {other.label!r}; "
                    "'allowed_tools' can leave one of them out",
                    place=place,
                )
        servers.append(ListedServer(label=asked.label, tools=tuple(tool.tool for tool in mine)))
    return TurnTools(executor=own.only(taken.values()), servers=tuple(servers))


def tools_of_own(own: Executor, where: OwnServers, place: str) -> list[ServerTool]:
    """The operator's tools that are meant, as far as the caller may use them."""
    tools = own.server_tools
    if where.labels is None:
        return list(tools)
    unknown = sorted({*where.labels}.difference(tool.label for tool in tools))
    if unknown:
        words = f"this server has no tools of {', '.join(map(repr, unknown))}"
        raise RequestError(words, place=f"{place}.server_url")
    return [tool for tool in tools if tool.label in where.labels]


def on_terms(tool: ServerTool, asked: AskedServer) -> ServerTool:
    """The tool as the request wants it. What the operator wants approved stays so; elsewhere the request decides."""
    wants = asked.approval.asks_for(tool) or (isinstance(asked.where, OwnServers) and tool.facts.approval == "always")
    described = tool.tool
    if asked.description:
        words = f"{tool.tool.description} ({asked.label}: {asked.description})".lstrip()
        described = replace(tool.tool, description=words)
    facts = replace(tool.facts, approval="always" if wants else "never")
    return replace(tool, tool=described, facts=facts, label=asked.label)
