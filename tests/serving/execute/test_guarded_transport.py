"""GuardedTransport: where requests go, what goes with them, and what comes back, with real servers."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from serving.execute.addresses import AllowedAddresses
from serving.execute.guarded_transport import (
    AddressRefused,
    AnswerRefused,
    Credentials,
    GuardedTransport,
    guarded_client,
)
from serving.execute.secret import Redactor, Secret
from tests.serving.execute.services import SECRET, listening

HOME = AllowedAddresses(private=(ip_network("127.0.0.1/32"),))
LIMIT_BYTES = 100_000
KEY = Secret("KEY", SECRET)


@dataclass
class Service:
    """Answers as its path says, and remembers who asked."""

    asked: list[Request] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await Starlette(routes=[Route("/{what:path}", self.answer, methods=["GET", "POST"])])(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        self.asked.append(request)
        match request.path_params["what"].split("/", 1):
            case ["to", where]:
                return RedirectResponse(where, status_code=307)
            case ["round"]:
                return RedirectResponse("/round", status_code=302)
            case ["large"]:
                return Response(b"x" * (LIMIT_BYTES + 1))
            case ["large in pieces"]:
                return StreamingResponse(pieces(b"x" * 10_000, 11))
            case ["as large as allowed"]:
                return Response(b"x" * LIMIT_BYTES)
            case ["bomb"]:
                return Response(gzip.compress(b"x" * 10_000_000), headers={"Content-Encoding": "gzip"})
            case ["echo"]:
                return JSONResponse({"headers": dict(request.headers), "query": dict(request.query_params)})
            case ["cookie"]:
                return Response("set", headers={"Set-Cookie": "who=other; Path=/"})
            case _:
                return Response("hello")


async def pieces(piece: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield piece


@contextmanager
def served(host: str = "127.0.0.1", **options: Any) -> Iterator[tuple[Service, str]]:
    service = Service()
    with listening(service, host, **options) as port:
        yield service, f"http{'s' if options else ''}://{host}:{port}"


@asynccontextmanager
async def client_for(
    origin: str, allowed: AllowedAddresses = HOME, **options: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    transport = GuardedTransport(
        origin=httpx2.URL(origin),
        allowed=allowed,
        redactor=Redactor([KEY]),
        answer_limit_bytes=LIMIT_BYTES,
        **options,
    )
    async with guarded_client(transport) as client:
        yield client


class Names:
    """A resolver whose answers are told beforehand, one after the other; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_request_to_an_allowed_address_is_answered() -> None:
    with served() as (_, url):
        async with client_for(url) as client:
            assert (await client.get(url)).text == "hello"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
async def test_request_to_a_private_address_is_refused_however_it_is_written(host: str) -> None:
    with served() as (service, url):
        async with client_for(url, AllowedAddresses()) as client:
            with pytest.raises(AddressRefused, match="private address"):
                await client.get(url.replace("127.0.0.1", host))
        assert service.asked == []


async def test_name_that_resolves_to_a_private_address_is_refused() -> None:
    with served() as (service, url):
        named = url.replace("127.0.0.1", "service.example")
        async with client_for(named, AllowedAddresses(), resolve_host=Names(["127.0.0.1"])) as client:
            with pytest.raises(AddressRefused, match=r"'service\.example' is at a private address"):
                await client.get(named)
        assert service.asked == []


async def test_name_of_which_one_address_is_private_is_refused() -> None:
    with served() as (service, url):
        named = url.replace("127.0.0.1", "service.example")
        async with client_for(named, resolve_host=Names(["127.0.0.1", "127.0.0.2"])) as client:
            with pytest.raises(AddressRefused):
                await client.get(named)
        assert service.asked == []


async def test_name_that_resolves_to_another_address_the_second_time_gains_nothing() -> None:
    """DNS rebinding: what is connected to is what was judged, for each request anew."""
    with served() as (service, url):
        port = httpx2.URL(url).port or 0
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        with listening(inner := Service(), "127.0.0.2", port):
            async with client_for("http://service.example", resolve_host=names) as client:
                assert (await client.get(f"http://service.example:{port}/")).text == "hello"
                assert len(names.asked) == 1
                with pytest.raises(AddressRefused):
                    await client.get(f"http://service.example:{port}/")
        assert len(service.asked) == 1
        assert service.asked[0].headers["Host"] == f"service.example:{port}"
        assert inner.asked == []


async def test_first_address_that_answers_is_taken() -> None:
    with served() as (_, url):
        named = url.replace("127.0.0.1", "service.example")
        allowed = AllowedAddresses(private=(ip_network("127.0.0.0/8"),))
        async with client_for(named, allowed, resolve_host=Names(["127.0.0.9", "127.0.0.1"])) as client:
            assert (await client.get(named)).text == "hello"


async def test_redirect_to_a_private_address_is_refused_and_nothing_is_sent_there() -> None:
    with served() as (_, url), served("127.0.0.2") as (inner, inner_url):
        async with client_for(url) as client:
            with pytest.raises(AddressRefused):
                await client.get(f"{url}/to/{inner_url}/secrets", follow_redirects=True)
        assert inner.asked == []


async def test_redirect_to_a_name_of_a_private_address_is_refused() -> None:
    with served() as (_, url), served("127.0.0.2") as (inner, inner_url):
        elsewhere = inner_url.replace("127.0.0.2", "inner.example")

        async def names(host: str, _port: int) -> list[str]:
            return ["127.0.0.2"] if host == "inner.example" else ["127.0.0.1"]

        async with client_for(url, resolve_host=names) as client:
            with pytest.raises(AddressRefused):
                await client.get(f"{url}/to/{elsewhere}", follow_redirects=True)
        assert inner.asked == []


async def test_target_is_asked_for_in_place_of_what_the_layers_above_know() -> None:
    with served() as (service, url):
        async with client_for(url, target=Secret("URL", "/echo?key=1")) as client:
            answer = await client.get(f"{url}/")
        assert answer.json()["query"] == {"key": "1"}
        assert str(answer.request.url) == f"{url}/"
        assert service.asked[0].url.path == "/echo"


async def test_target_that_moves_within_its_origin_is_followed_below_all_that_logs() -> None:
    with served() as (service, url), served("127.0.0.2") as (other, other_url):
        async with client_for(url, target=Secret("URL", "/to//echo%3Fkey=2")) as client:
            for _ in range(2):
                answer = await client.post(f"{url}/", content=b"asked")
                assert answer.json()["query"] == {"key": "2"}
                assert str(answer.request.url) == f"{url}/"
        assert [asked.url.path for asked in service.asked] == ["/to//echo%3Fkey=2", "/echo", "/echo"]
        async with client_for(url, target=Secret("URL", f"/to/{other_url}/x")) as client:
            assert (await client.get(f"{url}/")).status_code == 307
        assert other.asked == []


async def test_redirect_to_an_allowed_address_is_followed_without_the_secrets() -> None:
    with served() as (home, url), served("127.0.0.2") as (other, other_url):
        allowed = AllowedAddresses(private=(ip_network("127.0.0.0/8"),))
        credentials = Credentials(headers={"X-Key": KEY}, query={"key": KEY}, cookies={"session": KEY})
        async with client_for(url, allowed, credentials=credentials) as client:
            assert (await client.get(f"{url}/to/{other_url}/x", follow_redirects=True)).text == "hello"
        assert home.asked[0].headers["X-Key"] == SECRET
        assert home.asked[0].query_params["key"] == SECRET
        assert SECRET in home.asked[0].headers["Cookie"]
        assert "X-Key" not in other.asked[0].headers
        assert "Cookie" not in other.asked[0].headers
        assert not other.asked[0].url.query


async def test_redirects_in_a_circle_end() -> None:
    with served() as (service, url):
        async with client_for(url) as client:
            with pytest.raises(httpx2.TooManyRedirects):
                await client.get(f"{url}/round", follow_redirects=True)
        assert len(service.asked) == 6


async def test_secret_is_sent_and_does_not_come_back() -> None:
    with served() as (_, url):
        credentials = Credentials(headers={"X-Key": KEY}, query={"key": KEY})
        async with client_for(url, credentials=credentials) as client:
            answer = await client.get(f"{url}/echo?city=Oslo")
    assert answer.json()["headers"]["x-key"] == "[secret KEY]"
    assert answer.json()["query"] == {"city": "Oslo", "key": "[secret KEY]"}
    assert "key" not in str(answer.request.url)


async def test_cookies_of_one_answer_do_not_go_with_the_next_request() -> None:
    with served() as (service, url):
        async with client_for(url) as client:
            await client.get(f"{url}/cookie")
            await client.get(url)
        assert "Cookie" not in service.asked[1].headers


async def test_answer_as_large_as_allowed_is_read() -> None:
    with served() as (_, url):
        async with client_for(url) as client:
            assert len((await client.get(f"{url}/as large as allowed")).content) == LIMIT_BYTES


@pytest.mark.parametrize("path", ["large", "large in pieces"])
async def test_answer_larger_than_allowed_is_refused(path: str) -> None:
    with served() as (_, url):
        async with client_for(url) as client:
            with pytest.raises(AnswerRefused, match=f"larger than {LIMIT_BYTES} bytes"):
                await client.get(f"{url}/{path}")
            assert (await client.get(url)).text == "hello"


async def test_compressed_answer_is_refused_without_being_unpacked() -> None:
    with served() as (service, url):
        async with client_for(url) as client:
            with pytest.raises(AnswerRefused, match="compressed"):
                await client.get(f"{url}/bomb")
        assert service.asked[0].headers["Accept-Encoding"] == "identity"


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with served() as (_, url):
        async with client_for(url) as client:
            assert (await client.get(url)).text == "hello"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this process trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return authority


@contextmanager
def encrypted(authority: trustme.CA, tmp_path: Path, name: str) -> Iterator[tuple[Service, int]]:
    certificate = authority.issue_cert(name)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    service = Service()
    with listening(service, ssl_certfile=str(tmp_path / "server.pem"), ssl_version=ssl.PROTOCOL_TLS_SERVER) as port:
        yield service, port


async def test_certificate_is_checked_against_the_name_and_not_the_address(
    authority: trustme.CA, tmp_path: Path
) -> None:
    with encrypted(authority, tmp_path, "service.example") as (_, port):
        async with client_for(f"https://service.example:{port}", resolve_host=Names(["127.0.0.1"])) as client:
            assert (await client.get(f"https://service.example:{port}/")).text == "hello"
            with pytest.raises(httpx2.ConnectError, match="certificate"):
                await client.get(f"https://other.example:{port}/")


async def test_redirect_from_https_to_http_is_refused(authority: trustme.CA, tmp_path: Path) -> None:
    with encrypted(authority, tmp_path, "service.example") as (_, port), served() as (plain, plain_url):
        url = f"https://service.example:{port}"
        async with client_for(url, resolve_host=Names(["127.0.0.1"])) as client:
            with pytest.raises(AddressRefused, match="not encrypted"):
                await client.get(f"{url}/to/{plain_url}", follow_redirects=True)
        assert plain.asked == []
