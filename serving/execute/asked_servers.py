"""AskedServer: servers of tools that a request names, by URL or among the operator's own, and on what terms.

What the request says of a server holds for its own turn only. Names of tools are read as the model knows them, so that
a server's `files/list` and polycall's `files_list` name the same tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from serving.execute.offered import tool_name
from serving.execute.secret import Secret
from serving.execute.server_tool import ServerTool


@dataclass(frozen=True, kw_only=True)
class ToolFilter:
    """Tools of one server: those of these names, those that are (not) read-only, or both. What is not said matches."""

    names: tuple[str, ...] | None = None
    read_only: bool | None = None

    def takes(self, tool: ServerTool) -> bool:
        """Whether the tool is one of them."""
        if self.read_only is not None and tool.facts.read_only != self.read_only:
            return False
        return self.names is None or tool.tool.name in map(tool_name, self.names)


EVERY_TOOL = ToolFilter()
NO_TOOL = ToolFilter(names=())


@dataclass(frozen=True, kw_only=True)
class ApprovalRule:
    """Which tools of one server want approval: all but those of `never`, from which `always` takes back."""

    always: ToolFilter = EVERY_TOOL
    never: ToolFilter = NO_TOOL

    def asks_for(self, tool: ServerTool) -> bool:
        return self.always.takes(tool) or not self.never.takes(tool)


@dataclass(frozen=True, kw_only=True)
class RemoteServer:
    """An MCP server over streamable HTTP. Everything of its URL but the origin may be a secret, and every header is.

    Of its tools only those of `include` are looked at, by the server's own names; None takes all.
    """

    url: str = field(repr=False)
    headers: Mapping[str, Secret] = field(default_factory=dict)
    include: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class OwnServers:
    """Sources of tools that the operator configured, by their labels; None stands for all that the server has."""

    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class AskedServer:
    """A server that a request names. `label` is the request's word for it, `description` is for the model to read."""

    label: str
    where: RemoteServer | OwnServers
    description: str = ""
    allowed: ToolFilter = EVERY_TOOL
    approval: ApprovalRule = field(default_factory=ApprovalRule)
