"""Tools of the type `mcp`, as OpenAI's Responses and LiteLLM have them: a server, and which of its tools on what terms.

`server_url` is the URL of an MCP server, or names what the operator configured: `polycall` is all of it,
`polycall/mcp/NAME` one source or several, with commas between them; LiteLLM's word `litellm_proxy` is read likewise.
Credentials are kept where neither a log nor a digest sees them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from openai.types.responses.tool import Mcp
from pydantic import Field, SecretStr

from grammars.errors import RequestError
from serving.api.places import Places
from serving.api.wire import Wire
from serving.execute.asked_servers import (
    EVERY_TOOL,
    NO_TOOL,
    ApprovalRule,
    AskedServer,
    OwnServers,
    RemoteServer,
    ToolFilter,
)
from serving.execute.secret import SHORTEST, SOUNDS_SECRET, Secret

OWN_SERVERS = ("polycall", "litellm_proxy")
"""The words for what the operator configured."""

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
HEADER_VALUE = re.compile(r"[!-~](?:[ -~]{0,8190}[!-~])?")
KEPT_HEADERS = re.compile(
    r"(?:host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|accept.*|content-.*|mcp-.*|proxy-.*)",
    re.IGNORECASE,
)
"""Headers that are the connection's own."""

MOST_HEADERS = 32
MOST_SERVERS = 16


class NamedTools(Wire):
    """A filter: tools of these names, that are or are not read-only by their annotations."""

    tool_names: list[str] | None = None
    read_only: bool | None = None

    @property
    def filter(self) -> ToolFilter:
        names = None if self.tool_names is None else tuple(self.tool_names)
        return ToolFilter(names=names, read_only=self.read_only)


class ApprovalFilter(Wire):
    always: NamedTools | None = None
    never: NamedTools | None = None


class McpTool(Wire):
    """A server of tools. Of the fields that say where it is, `server_url` is honoured."""

    type: Literal["mcp"]
    server_label: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
    server_url: Annotated[str, Field(min_length=1, max_length=8192)]
    server_description: Annotated[str, Field(max_length=8192)] | None = None
    authorization: SecretStr | None = None
    headers: Annotated[dict[str, SecretStr], Field(max_length=MOST_HEADERS)] | None = None
    allowed_tools: list[str] | NamedTools | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None

    connector_id: None = None
    tunnel_id: None = None
    defer_loading: Literal[False] | None = None
    allowed_callers: list[Literal["direct"]] | None = None

    def asked(self, place: str) -> AskedServer:
        """The server as a turn takes it, or a `RequestError` at the field of `place` that makes no sense."""
        return AskedServer(
            label=self.server_label,
            where=self._where(place),
            description=self.server_description or "",
            allowed=self._allowed,
            approval=self._approval,
        )

    def echoed(self) -> Mcp:
        """The tool as an answer repeats it: of the URL only its origin, and no credentials."""
        said = self.model_dump(mode="json", exclude_unset=True, exclude={"authorization", "headers"})
        if not own_servers(self.server_url):
            url = urlsplit(self.server_url)
            said["server_url"] = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
        return Mcp.model_validate(said)

    @property
    def _allowed(self) -> ToolFilter:
        if self.allowed_tools is None:
            return EVERY_TOOL
        if isinstance(self.allowed_tools, NamedTools):
            return self.allowed_tools.filter
        return ToolFilter(names=tuple(self.allowed_tools))

    @property
    def _approval(self) -> ApprovalRule:
        match self.require_approval:
            case ApprovalFilter(always=always, never=never):
                return ApprovalRule(
                    always=NO_TOOL if always is None else always.filter,
                    never=NO_TOOL if never is None else never.filter,
                )
            case "never":
                return ApprovalRule(always=NO_TOOL, never=EVERY_TOOL)
            case _:
                return ApprovalRule()

    def _where(self, place: str) -> RemoteServer | OwnServers:
        own = own_servers(self.server_url)
        if own is not None:
            for name in ("authorization", "headers"):
                if getattr(self, name):
                    raise RequestError(
                        "a server that the operator configured has its own credentials", place=f"{place}.{name}"
                    )
            return own
        check_url(self.server_url, f"{place}.server_url")
        return RemoteServer(url=self.server_url, headers=self._headers(place), include=self._allowed.names)

    def _headers(self, place: str) -> dict[str, Secret]:
        given = {name: value.get_secret_value() for name, value in (self.headers or {}).items()}
        for name, value in given.items():
            check_header(name, value, f"{place}.headers.{name}")
        lower = [name.lower() for name in given]
        if len(set(lower)) < len(lower):
            raise RequestError("a header is given twice", place=f"{place}.headers")
        headers = {name: header_secret(name, value) for name, value in given.items()}
        if self.authorization is not None:
            token, here = self.authorization.get_secret_value(), f"{place}.authorization"
            if "authorization" in lower:
                raise RequestError("'authorization' and the header of that name exclude each other", place=here)
            check_header("Authorization", token, here)
            headers["Authorization"] = Secret("authorization", token, prefix="Bearer ")
        return headers


def own_servers(server_url: str) -> OwnServers | None:
    """What a `server_url` names of the operator's servers, or None for a URL."""
    for word in OWN_SERVERS:
        if server_url == word:
            return OwnServers()
        if server_url.startswith(f"{word}/mcp/"):
            return OwnServers(labels=tuple(server_url.removeprefix(f"{word}/mcp/").split(",")))
    return None


def check_url(url: str, place: str) -> None:
    """Refuse what cannot be connected to. The message repeats nothing of it: any part of it may be a secret."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not (url.isascii() and url.isprintable()) or " " in url:
        raise RequestError(
            f"a server's URL begins with http:// or https://; what the operator configured is {OWN_SERVERS[0]!r}",
            place=place,
        )
    if parts.username is not None or parts.password is not None:
        raise RequestError("a server's URL has no user in it; use 'authorization' or 'headers'", place=place)


def check_header(name: str, value: str, place: str) -> None:
    """Refuse a header that cannot be sent, or whose value could not be kept out of results."""
    if not HEADER_NAME.fullmatch(name) or KEPT_HEADERS.fullmatch(name):
        raise RequestError("this header cannot be sent", place=place)
    if not HEADER_VALUE.fullmatch(value):
        raise RequestError("the value has characters that no header can have", place=place)
    if SOUNDS_SECRET.search(name) and len(value.rpartition(" ")[2]) < SHORTEST:
        raise RequestError(f"a secret of fewer than {SHORTEST} characters cannot be kept out of results", place=place)


def header_secret(name: str, value: str) -> Secret:
    """The value of a header, of which a part may come back alone: the token, or what Basic hides."""
    scheme, space, token = value.partition(" ")
    if not space or len(token) < SHORTEST:
        return Secret(name, value)
    if scheme.lower() == "basic":
        try:
            plain = base64.b64decode(token, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            plain = ""
        if base64.b64encode(plain.encode()).decode() == token:
            return Secret(name, plain, prefix=f"{scheme} ", base64=True)
    return Secret(name, token, prefix=f"{scheme} ")


def asked_servers(tools: Sequence[Wire] | None) -> tuple[AskedServer, ...]:
    """The servers among the tools of a request, in their order. Raises `RequestError` that names the tool at fault."""
    found: dict[str, AskedServer] = {}
    for index, tool in enumerate(tools or ()):
        if not isinstance(tool, McpTool):
            continue
        place = f"tools[{index}]"
        if tool.server_label in found:
            raise RequestError(
                f"the label {tool.server_label!r} is already given to another server", place=f"{place}.server_label"
            )
        if len(found) == MOST_SERVERS:
            raise RequestError(f"more than {MOST_SERVERS} servers cannot be asked for", place=place)
        found[tool.server_label] = tool.asked(place)
    return tuple(found.values())


def tool_places(tools: Sequence[Wire] | None, *, function: str = ".function") -> Places:
    """Where the request has what a turn calls `tools[0].function`, which are the functions, and `servers[0]`.

    `function` is what stands between a tool and its name on this wire.
    """
    names: dict[str, str] = {}
    functions = servers = 0
    for index, tool in enumerate(tools or ()):
        if isinstance(tool, McpTool):
            names[f"servers[{servers}]"] = f"tools[{index}]"
            servers += 1
        else:
            names[f"tools[{functions}]"] = f"tools[{index}]"
            names[f"tools[{functions}].function"] = f"tools[{index}]{function}"
            functions += 1
    return Places(names=names)
