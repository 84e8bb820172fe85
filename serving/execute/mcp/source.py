"""McpSource: the tools of one MCP server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2
from mcp import MCPError
from mcp.types import CONNECTION_CLOSED, INVALID_PARAMS, PARSE_ERROR, CallToolResult, TextContent, ToolAnnotations
from mcp.types import Tool as ListedTool

from grammars.errors import ConfigurationError
from grammars.tools import Tool
from serving.execute.addresses import AllowedAddresses, Resolve, resolve
from serving.execute.guarded_transport import Credentials, GuardedTransport
from serving.execute.mcp.connection import NOT_REACHED, Connection, ConnectionFailed, OpenStreams
from serving.execute.mcp.http import reached
from serving.execute.mcp.stdio import Program, running
from serving.execute.offered import Offer, Selection, shortened
from serving.execute.secret import Redactor, Secret
from serving.execute.server_tool import InvalidArguments, ServerTool, ToolFailed, ToolRefused


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
    """An MCP server that runs somewhere, over streamable HTTP."""

    url: str
    headers: Mapping[str, Secret] = field(default_factory=dict)
    allowed: AllowedAddresses = field(default_factory=AllowedAddresses)
    resolve_host: Resolve = resolve

    @property
    def secrets(self) -> list[Secret]:
        return list(self.headers.values())

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
            raise ConfigurationError(f"the MCP server {self._name!r} cannot be used: {reason}") from None
        self._selection.check(self._name, {tool.name for tool in listed})
        return [
            self._selection.tool(self._name, self._offer(tool)) for tool in listed if self._selection.takes(tool.name)
        ]

    async def close(self) -> None:
        await self._connection.close()

    def _offer(self, tool: ListedTool) -> Offer:
        return Offer(
            tool=Tool(name=tool.name, description=tool.description or "", parameters=tool.input_schema),
            facts=hinted(tool.annotations) if self._trust_annotations else {},
            runner=McpRunner(tool.name, self._connection, self._redactor),
        )


class McpRunner:
    """Runs calls of one tool of an MCP server."""

    def __init__(self, name: str, connection: Connection, redactor: Redactor) -> None:
        self._name = name
        self._connection = connection
        self._redactor = redactor

    async def run(self, arguments: Mapping[str, Any]) -> Any:
        try:
            result = await self._connection.call(self._name, arguments)
        except ConnectionFailed as error:
            raise ToolFailed(self._said(f"the MCP server cannot be reached: {error}")) from None
        except MCPError as error:
            said = self._said(error.message)
            if error.code == NOT_REACHED:
                said = f"the MCP server cannot be reached: {said}"
            if error.code == INVALID_PARAMS:
                raise InvalidArguments(said) from None
            if error.code == CONNECTION_CLOSED:
                said = f"{said}; whether the call took effect is not known"
            if error.code == PARSE_ERROR:
                raise ToolRefused(said) from None
            raise ToolFailed(said) from None
        except (RuntimeError, ValueError) as error:  # the SDK's word for an answer that breaks the protocol
            raise ToolRefused(self._said(f"the answer is not what MCP asks for: {error}")) from None
        value = self._redactor.value(value_of(result))
        if result.is_error:
            raise ToolRefused(shortened(value if isinstance(value, str) else str(value)) or "the tool failed")
        return value

    def _said(self, text: str) -> str:
        return shortened(self._redactor.text(text))


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


def value_of(result: CallToolResult) -> Any:
    """What a tool answered: its structured content if it has any, else its text, else all that it sent."""
    if result.structured_content is not None:
        return result.structured_content
    if all(isinstance(block, TextContent) for block in result.content):
        texts = [block.text for block in result.content if isinstance(block, TextContent)]
        return texts[0] if len(texts) == 1 else texts
    return [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
