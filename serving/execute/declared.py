"""The form of the tools file. What is not of this form is refused with its place, unknown names too."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.execute.secret import SOUNDS_SECRET

PositiveSeconds = Annotated[float, Field(gt=0)]
Place = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
"""`module:attribute`."""

ANSWER_LIMIT_BYTES = 8 * 2**20
"""The largest answer of a service or an MCP server where its entry does not say."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Value(Strict):
    """A secret: the environment variable that holds it, and what stands before it where it is sent."""

    env: Annotated[str, Field(min_length=1)]
    prefix: str = ""


class ResourceEntry(Strict):
    """Something that several tools share."""

    capacity: Annotated[int, Field(ge=1)] | None = None
    rate_per_s: Annotated[float, Field(gt=0)] | None = None


class FactsEntry(Strict):
    """Facts of a tool, as in `ToolFacts`. What is not there is not stated."""

    read_only: bool | None = None
    idempotent: bool | None = None
    reads: list[str] | None = None
    writes: list[str] | None = None
    resource: str | None = None
    timeout_s: PositiveSeconds | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    duration_s: Annotated[float, Field(ge=0)] | None = None
    approval: Literal["always", "never"] | None = None

    def stated(self) -> dict[str, Any]:
        """The facts that are there, as `ToolFacts` takes them."""
        facts = self.model_dump(exclude_none=True, include=set(FactsEntry.model_fields) | {"compute"})
        return {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}


class FunctionEntry(FactsEntry):
    """A Python function, `module:function`, as a tool under the name of its entry."""

    function: Place
    batch: Place | None = None
    description: str | None = None
    compute: bool | None = None


class SourceEntry(Strict):
    """What entries of sources have in common. Tools are named as their source names them, without the prefix."""

    prefix: str = ""
    include: list[str] | None = None
    exclude: list[str] = []
    private_networks: list[IPv4Network | IPv6Network] = []
    answer_limit_bytes: Annotated[int, Field(ge=1)] = ANSWER_LIMIT_BYTES
    defaults: FactsEntry = FactsEntry()
    tools: dict[str, FactsEntry] = {}


class McpEntry(SourceEntry):
    """An MCP server: a `command` to start, with its `env` and `folder`, or a `url`, with secret `headers`."""

    command: Annotated[list[str], Field(min_length=1)] | None = None
    env: dict[str, str | Value] = {}
    folder: str | None = None
    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    headers: dict[str, Value] = {}
    connect_timeout_s: PositiveSeconds = 30.0
    trust_annotations: bool = True

    @model_validator(mode="after")
    def _one_way(self) -> McpEntry:
        if (self.command is None) == (self.url is None):
            raise ValueError("either a command or a url is needed")
        foreign = ("headers", "private_networks") if self.command is not None else ("env", "folder")
        for name in foreign:
            if getattr(self, name):
                raise ValueError(f"{name} is not for a server with a {'command' if self.command else 'url'}")
        for name, value in self.env.items():
            if isinstance(value, str) and SOUNDS_SECRET.search(name):
                raise ValueError(f'env.{name} sounds like a secret: write {{ env = "{name}" }}, not its value')
        return self


class OpenApiEntry(SourceEntry):
    """An HTTP service: its OpenAPI `document`, a file or a URL, and the `secrets` of its security schemes."""

    document: str
    base_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    secrets: dict[str, Value] = {}
    headers: dict[str, Value] = {}


class ToolsFile(Strict):
    """The whole file."""

    registries: list[Place] = []
    resources: dict[str, ResourceEntry] = {}
    functions: dict[str, FunctionEntry] = {}
    mcp: dict[str, McpEntry] = {}
    openapi: dict[str, OpenApiEntry] = {}
