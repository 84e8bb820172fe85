"""GuardedTransport: the way of every tool's HTTP request to the outside, and of its answer back.

On the way out the address is checked, redirects included, since each hop comes through here; secrets are added last, so
that no layer above has them in a URL that it may log, and only for the source's own origin. On the way back the answer
is bounded and secrets that the service repeats are taken out. Certificates are checked against the host's name.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from serving.execute.addresses import AllowedAddresses, Resolve, resolve
from serving.execute.secret import Redactor, Secret

logging.getLogger("httpcore2").setLevel(logging.INFO)
"""What it traces are the headers of answers, as they come."""

CREDENTIALS = "polycall_credentials"
"""The request's extension that carries `Credentials` of its own."""

CONNECT_S = 10.0
"""How long one connection may take to come about. Everything after it is bounded by the time of the call."""

MOST_REDIRECTS = 5

NO_LIMIT = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
"""How many calls run at once is decided where calls are scheduled."""


class AddressRefused(httpx2.ConnectError):
    """The host is at an address that must not be connected to. Nothing was sent."""


class AnswerRefused(httpx2.StreamError):
    """The answer is too large, or encoded though no encoding was asked for."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Secrets that a request carries, by the name of a header, of a parameter in the query, or of a cookie."""

    headers: Mapping[str, Secret] = field(default_factory=dict)
    query: Mapping[str, Secret] = field(default_factory=dict)
    cookies: Mapping[str, Secret] = field(default_factory=dict)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests of one source of tools, whose `origin` alone is told its `credentials`.

    `answer_limit_bytes` bounds every answer but, with `event_streams`, those that are streams of events. `target` is
    the path and query to ask for at the origin, in place of what the layers above know; where the service moves it
    within the origin, it is followed here, since nobody else may know where to.
    """

    def __init__(
        self,
        *,
        origin: httpx2.URL,
        allowed: AllowedAddresses,
        redactor: Redactor,
        answer_limit_bytes: int,
        credentials: Credentials | None = None,
        event_streams: bool = False,
        target: Secret | None = None,
        resolve_host: Resolve = resolve,
    ) -> None:
        self._origin = origin_of(origin)
        self._allowed = allowed
        self._redactor = redactor
        self._limit_bytes = answer_limit_bytes
        self._credentials = credentials or Credentials()
        self._event_streams = event_streams
        self._target = target
        self._resolve = resolve_host
        self._ssl = ssl.create_default_context()
        self._own = self._connections()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._origin[0] == "https" and request.url.scheme != "https":
            raise AddressRefused(f"the way to {request.url.host!r} is not encrypted")
        addresses = await self._addresses(request.url)
        at_home = origin_of(request.url) == self._origin
        # connections are kept by address: those to other hosts must not be found there under the same one
        connections = self._own if at_home else self._connections()
        sent = self._with_credentials(request) if at_home else request
        try:
            response = await self._send(connections, sent, addresses)
            if at_home and self._target is not None:
                response = await self._followed(sent, response, addresses)
        except BaseException:
            if connections is not self._own:
                await connections.aclose()
            raise
        return httpx2.Response(
            response.status_code,
            headers=[(name, self._redactor.data(value)) for name, value in response.headers.raw],
            stream=GuardedStream(
                response,
                redactor=self._redactor,
                limit_bytes=self._limit_of(response),
                closing=None if connections is self._own else connections,
            ),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._own.aclose()

    def _connections(self) -> httpx2.AsyncHTTPTransport:
        return httpx2.AsyncHTTPTransport(verify=self._ssl, limits=NO_LIMIT, trust_env=False)

    async def _addresses(self, url: httpx2.URL) -> list[str]:
        """The addresses of the URL's host, none of which is refused."""
        host = url.raw_host.decode("ascii")
        try:
            addresses = list(await self._resolve(host, origin_of(url)[2]))
        except OSError as error:
            raise httpx2.ConnectError(f"the host {host!r} cannot be found") from error
        if not addresses:
            raise httpx2.ConnectError(f"the host {host!r} has no address")
        for address in addresses:
            if self._allowed.refuses(address):
                raise AddressRefused(f"the host {host!r} is at a private address, which is not allowed")
        return addresses

    async def _send(
        self, connections: httpx2.AsyncHTTPTransport, request: httpx2.Request, addresses: list[str]
    ) -> httpx2.Response:
        """Send to the first of the addresses that can be connected to, telling it the host's name."""
        for address in addresses[:-1]:
            try:
                return await connections.handle_async_request(pinned(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await connections.handle_async_request(pinned(request, addresses[-1]))

    async def _followed(
        self, request: httpx2.Request, response: httpx2.Response, addresses: list[str]
    ) -> httpx2.Response:
        """The answer after redirects that keep the request as it is, and within the origin."""
        for _ in range(MOST_REDIRECTS):
            if response.status_code not in (httpx2.codes.TEMPORARY_REDIRECT, httpx2.codes.PERMANENT_REDIRECT):
                break
            moved = request.url.join(response.headers.get("Location", ""))
            if origin_of(moved) != self._origin:
                break
            await response.aclose()
            self._target = Secret("url", moved.raw_path.decode("ascii"))
            request = httpx2.Request(
                request.method, moved, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
            response = await self._send(self._own, request, addresses)
        return response

    def _with_credentials(self, request: httpx2.Request) -> httpx2.Request:
        credentials: Credentials = request.extensions.get(CREDENTIALS, self._credentials)
        url = request.url
        if self._target is not None:
            url = url.copy_with(raw_path=self._target.reveal().encode("ascii"))
        for name, secret in credentials.query.items():
            url = url.copy_set_param(name, secret.reveal())
        headers = request.headers.copy()
        headers.update({name: secret.reveal() for name, secret in credentials.headers.items()})
        if credentials.cookies:
            own = [f"{name}={secret.reveal()}" for name, secret in credentials.cookies.items()]
            headers["Cookie"] = "; ".join([*filter(None, [headers.get("Cookie")]), *own])
        return httpx2.Request(
            request.method, url, headers=headers, stream=request.stream, extensions=request.extensions
        )

    def _limit_of(self, response: httpx2.Response) -> int | None:
        is_stream = media_type(response) == "text/event-stream"
        return None if is_stream and self._event_streams else self._limit_bytes


class GuardedStream(httpx2.AsyncByteStream):
    """The body of an answer: at most so many bytes of it, without secrets. `closing` is closed along with it."""

    def __init__(
        self,
        response: httpx2.Response,
        *,
        redactor: Redactor,
        limit_bytes: int | None,
        closing: httpx2.AsyncHTTPTransport | None,
    ) -> None:
        self._response = response
        self._redacted = redactor.stream()
        self._limit_bytes = limit_bytes
        self._closing = closing

    async def __aiter__(self) -> AsyncIterator[bytes]:
        headers = self._response.headers
        if headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
            # an encoded answer can grow a thousandfold, and hides what it repeats
            raise AnswerRefused("the answer is compressed, though it was asked for as it is")
        if headers.get("Content-Length", "").isdigit():
            self._count(int(headers["Content-Length"]))
        read = 0
        assert isinstance(self._response.stream, httpx2.AsyncByteStream)
        async for piece in self._response.stream:
            read += len(piece)
            self._count(read)
            yield self._redacted.feed(piece)
        yield self._redacted.end()

    async def aclose(self) -> None:
        await self._response.aclose()
        if self._closing is not None:
            await self._closing.aclose()

    def _count(self, size: int) -> None:
        if self._limit_bytes is not None and size > self._limit_bytes:
            raise AnswerRefused(f"the answer is larger than {self._limit_bytes} bytes")


def guarded_client(transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
    """A client on a guarded transport. It follows no redirect unless asked to, and keeps no cookies between calls."""
    return httpx2.AsyncClient(
        transport=transport,
        headers={"Accept-Encoding": "identity", "User-Agent": "polycall"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx2.Timeout(None, connect=CONNECT_S),
        max_redirects=MOST_REDIRECTS,
        trust_env=False,
    )


def pinned(request: httpx2.Request, address: str) -> httpx2.Request:
    """The request to this address of its host. The name stays in its Host header and in what TLS asks for."""
    host = request.url.raw_host.decode("ascii")
    if host == address:
        return request
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


def origin_of(url: httpx2.URL) -> tuple[str, str, int]:
    """Scheme, host and port."""
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


def media_type(response: httpx2.Response) -> str:
    """The answer's content type in lower case, without parameters."""
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
