"""McpSource: the tools of one MCP server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2
from mcp.types import Tool as ListedTool
from mcp.types import ToolAnnotations

from grammars.errors import SchemaRefused, SourceAway
from grammars.schema import Schema, read_schema
from grammars.tools import Tool
from serving.execute.addresses import AllowedAddresses, Resolve, resolve
from serving.execute.guarded_transport import Credentials, GuardedTransport
from serving.execute.mcp.connection import Connection, OpenStreams
from serving.execute.mcp.http import reached
from serving.execute.mcp.runner import McpRunner
from serving.execute.mcp.stdio import Program, running
from serving.execute.offered import Offer, Selection, shortened
from serving.execute.secret import Redactor, Secret
from serving.execute.server_tool import ServerTool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ChildProcess:
    """An MCP server that is started here. Its `environment` is PATH, HOME and the like, and what is given."""

    command: Sequence[str]
    environment: Mapping[str, str | Secret] = field(default_factory=dict)
    folder: str | None = None

    @property
    def secrets(self) -> list[Secret]:
        return [value for value in self.environment.values() if isinstance(value, Secret)]

    def streams(self, name: str, limit_bytes: int, redactor: Redactor) -> OpenStreams:
        """Opens the server's streams, as `Connection` wants them."""
        program = Program(
            command=self.command,
            environment=self.environment,
            folder=self.folder,
            line_limit_bytes=limit_bytes,
            redactor=redactor,
            name=name,
        )
        return partial(running, program)


@dataclass(frozen=True, kw_only=True)
class HttpServer:
    """An MCP server that runs somewhere, over streamable HTTP.

    `target` stands for the path and query of the URL where these are secret; `hidden` are parts of it, and whatever
    else must not come back.
    """

    url: str
    headers: Mapping[str, Secret] = field(default_factory=dict)
    target: Secret | None = None
    hidden: Sequence[Secret] = ()
    allowed: AllowedAddresses = field(default_factory=AllowedAddresses)
    resolve_host: Resolve = resolve

    @property
    def secrets(self) -> list[Secret]:
        return [*self.headers.values(), *self.hidden]

    def streams(self, name: str, limit_bytes: int, redactor: Redactor) -> OpenStreams:
        """Opens the server's streams, as `Connection` wants them."""

        def opened(lose: Any) -> AbstractAsyncContextManager[Any]:
            transport = GuardedTransport(
                origin=httpx2.URL(self.url),
                allowed=self.allowed,
                redactor=redactor,
                answer_limit_bytes=limit_bytes,
                credentials=Credentials(headers=self.headers),
                event_streams=True,
                target=self.target,
                resolve_host=self.resolve_host,
            )
            return reached(self.url, transport, limit_bytes, lose)

        return opened


class McpSource:
    """The tools of one MCP server, as they are listed when it is opened; what it lists later is not looked at.

    What its annotations say of a tool counts unless the operator says otherwise: `readOnlyHint`, `idempotentHint`, and
    `destructiveHint`, which asks for approval. A server that was killed is connected to again by the next call.
    """

    def __init__(
        self,
        name: str,
        server: ChildProcess | HttpServer,
        selection: Selection,
        *,
        answer_limit_bytes: int,
        connect_timeout_s: float,
        trust_annotations: bool = True,
    ) -> None:
        self._name = name
        self._selection = selection
        self._trust_annotations = trust_annotations
        self._redactor = Redactor(server.secrets)
        streams = server.streams(name, answer_limit_bytes, self._redactor)
        self._connection = Connection(name, streams, connect_timeout_s)

    @property
    def name(self) -> str:
        return self._name

    async def open(self) -> list[ServerTool]:
        try:
            listed = await self._connection.tools()
        except Exception as error:
            reason = self._redactor.text(shortened(str(error) or type(error).__name__))
            raise SourceAway(f"the MCP server {self._name!r} cannot be used: {reason}") from None
        return await asyncio.to_thread(self._selected, listed)  # schemas take their time to be read

    async def close(self) -> None:
        await self._connection.close()

    def _selected(self, listed: Sequence[ListedTool]) -> list[ServerTool]:
        self._selection.check(self._name, {tool.name for tool in listed})
        return [
            self._selection.tool(self._name, self._offer(tool)) for tool in listed if self._selection.takes(tool.name)
        ]

    def _offer(self, tool: ListedTool) -> Offer:
        return Offer(
            tool=Tool(name=tool.name, description=tool.description or "", parameters=tool.input_schema),
            facts=hinted(tool.annotations) if self._trust_annotations else {},
            runner=McpRunner(tool.name, self._connection, self._redactor, self._output_schema(tool)),
        )

    def _output_schema(self, tool: ListedTool) -> Schema | None:
        """What the tool's structured content is checked by, if it states a schema that can be checked by."""
        if tool.output_schema is None:
            return None
        try:
            return read_schema(tool.output_schema, root="any")
        except SchemaRefused as error:
            logger.warning("%s: the results of %r are not checked: %s", self._name, tool.name, error)
            return None


def hinted(annotations: ToolAnnotations | None) -> dict[str, Any]:
    """The facts that a tool's annotations state. A hint that is missing states nothing."""
    if annotations is None:
        return {}
    facts: dict[str, Any] = {}
    if annotations.read_only_hint:
        facts["read_only"] = True
    if annotations.idempotent_hint:
        facts["idempotent"] = True
    if annotations.destructive_hint and not annotations.read_only_hint:
        facts["approval"] = "always"
    return facts
