"""OpenApiSource: the operations of an HTTP service as tools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2

from grammars.errors import ConfigurationError
from grammars.tools import Tool
from serving.execute.addresses import AllowedAddresses, Resolve, resolve
from serving.execute.guarded_transport import (
    CREDENTIALS,
    AddressRefused,
    AnswerRefused,
    Credentials,
    GuardedTransport,
    guarded_client,
    origin_of,
)
from serving.execute.offered import Offer, Selection, shortened
from serving.execute.openapi.answer import read_answer
from serving.execute.openapi.document import Document, read_document
from serving.execute.openapi.operations import Operation, operations, read_operation
from serving.execute.openapi.request import request_parts
from serving.execute.openapi.security import credentials_of
from serving.execute.secret import Redactor, Secret
from serving.execute.server_tool import InvalidArguments, ServerTool, ToolFailed, ToolRefused

READ_ONLY = {"GET", "HEAD", "OPTIONS"}
IDEMPOTENT = {*READ_ONLY, "PUT", "DELETE"}
"""What the methods of HTTP state of a request (RFC 9110, section 9.2)."""


@dataclass(frozen=True, kw_only=True)
class HttpService:
    """An HTTP service and its OpenAPI document, which is a file or stands at a URL.

    `base_url` stands above the document's own servers. `secrets` are those of the document's security schemes, by name;
    `headers` go with every request.
    """

    document: str
    base_url: str | None = None
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    headers: Mapping[str, Secret] = field(default_factory=dict)
    allowed: AllowedAddresses = field(default_factory=AllowedAddresses)
    resolve_host: Resolve = resolve


class OpenApiSource:
    """The operations of one service, each a tool under its `operationId`.

    GET, HEAD and OPTIONS count as read-only, these, PUT and DELETE as idempotent, unless the operator says otherwise.
    """

    def __init__(self, name: str, service: HttpService, selection: Selection, *, answer_limit_bytes: int) -> None:
        self._name = name
        self._service = service
        self._selection = selection
        self._limit_bytes = answer_limit_bytes
        self._redactor = Redactor([*service.secrets.values(), *service.headers.values()])
        self._clients: dict[tuple[str, str, int], httpx2.AsyncClient] = {}

    @property
    def name(self) -> str:
        return self._name

    async def open(self) -> list[ServerTool]:
        text = await self._document_text()
        document = await asyncio.to_thread(read_document, self._service.document, text)
        unknown = sorted(self._service.secrets.keys() - document.root.get("components", {}).get("securitySchemes", {}))
        if unknown:
            raise ConfigurationError(f"{self._name}: there is no security scheme {', '.join(map(repr, unknown))}")
        found = operations(document)
        self._selection.check(self._name, {name for name, *_ in found})
        return [
            self._selection.tool(self._name, self._offer(document, read_operation(document, *place)))
            for place in found
            if self._selection.takes(place[0])
        ]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def _document_text(self) -> str:
        place = self._service.document
        if not is_url(place):
            try:
                return await asyncio.to_thread(Path(place).read_text, encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"{self._name}: the document {place!r} cannot be read: {error}") from error
        client = self._client(httpx2.URL(place))
        try:
            response = await client.get(place, follow_redirects=True, timeout=30)
            response.raise_for_status()
            return response.text
        except (httpx2.HTTPError, httpx2.InvalidURL, AnswerRefused) as error:
            reason = self._redactor.text(shortened(str(error) or type(error).__name__))
            raise ConfigurationError(f"{self._name}: the document {place!r} cannot be read: {reason}") from None

    def _client(self, url: httpx2.URL) -> httpx2.AsyncClient:
        """The client for the origin of a URL."""
        origin = origin_of(url)
        if origin not in self._clients:
            transport = GuardedTransport(
                origin=url,
                allowed=self._service.allowed,
                redactor=self._redactor,
                answer_limit_bytes=self._limit_bytes,
                resolve_host=self._service.resolve_host,
            )
            self._clients[origin] = guarded_client(transport)
        return self._clients[origin]

    def _offer(self, document: Document, operation: Operation) -> Offer:
        base_url = self._base_url(operation)
        own = credentials_of(document, operation, self._service.secrets)
        credentials = replace(own, headers={**self._service.headers, **own.headers})
        return Offer(
            tool=Tool(name=operation.name, description=operation.description, parameters=operation.schema),
            facts={"read_only": operation.method in READ_ONLY, "idempotent": operation.method in IDEMPOTENT},
            runner=OperationRunner(
                operation, base_url, self._client(httpx2.URL(base_url)), credentials, self._redactor
            ),
        )

    def _base_url(self, operation: Operation) -> str:
        """Where the operation's path begins: as the operator says, else the first server that the document names."""
        url = self._service.base_url
        if url is None and operation.servers:
            server = operation.servers[0]
            url = str(server["url"])
            for name, variable in server.get("variables", {}).items():
                url = url.replace("{" + name + "}", variable["default"])
            url = urljoin(self._service.document, url) if is_url(self._service.document) else url
        if url is None or not is_url(url):
            raise ConfigurationError(f"{self._name}: the document names no server by its full URL: give a base_url")
        return url.rstrip("/")


class OperationRunner:
    """Runs calls of one operation."""

    def __init__(
        self,
        operation: Operation,
        base_url: str,
        client: httpx2.AsyncClient,
        credentials: Credentials,
        redactor: Redactor,
    ) -> None:
        self._operation = operation
        self._base_url = base_url
        self._client = client
        self._credentials = credentials
        self._redactor = redactor

    async def run(self, arguments: Mapping[str, Any]) -> Any:
        request = self._request(arguments)
        # what writes goes where the document says, and nowhere else
        follow = request.method in ("GET", "HEAD")
        try:
            response = await self._client.send(request, follow_redirects=follow)
        except (AddressRefused, AnswerRefused, httpx2.TooManyRedirects, httpx2.InvalidURL) as error:
            raise ToolRefused(self._said(str(error))) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise ToolFailed(self._said(f"the service cannot be reached: {error or type(error).__name__}")) from None
        except httpx2.HTTPError as error:
            said = f"the connection ended before the answer: {error or type(error).__name__}"
            raise ToolFailed(self._said(f"{said}; whether the call took effect is not known")) from None
        try:
            value = await read_answer(response)
        except ToolRefused as error:
            raise ToolRefused(self._said(str(error))) from None
        except ToolFailed as error:
            raise ToolFailed(self._said(str(error))) from None
        return self._redactor.value(value)

    def _request(self, arguments: Mapping[str, Any]) -> httpx2.Request:
        parts = request_parts(self._operation, arguments)
        try:
            return self._client.build_request(
                self._operation.method,
                self._base_url + parts.path + (f"?{parts.query}" if parts.query else ""),
                headers=parts.headers,
                content=parts.content,
                extensions={CREDENTIALS: self._credentials},
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise InvalidArguments(f"they make no request: {error}") from error

    def _said(self, text: str) -> str:
        return shortened(self._redactor.text(text))


def is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))
