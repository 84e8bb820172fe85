"""Tools of HTTP services: a real service, and the document that it writes of itself."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from pydantic import BaseModel, Field

from grammars.errors import ConfigurationError
from serving.execute.addresses import AllowedAddresses
from serving.execute.offered import Selection
from serving.execute.openapi.source import HttpService, OpenApiSource
from serving.execute.secret import Secret
from serving.execute.server_tool import InvalidArguments, ServerTool, ToolFailed, ToolRefused
from tests.serving.execute.services import SECRET, is_secret_in, listening, opened

LIMIT_BYTES = 200_000
HOME = AllowedAddresses(private=(ip_network("127.0.0.1/32"),))

Tools = dict[str, ServerTool]


class Pet(BaseModel):
    name: str
    age: int = Field(ge=0)


def service() -> FastAPI:
    """A service as people write them; the paths under /answer misbehave."""
    app = FastAPI(title="pets")
    app.state.asked = []
    app.state.headers = []

    @app.get("/pets/{name}", operation_id="find")
    def find(name: str, tag: list[str] | None = None, trace: str = Header("none")) -> dict[str, Any]:
        return {"name": name, "trace": trace, "tag": tag}

    @app.put("/pets/{name}", operation_id="keep", description="Keep a pet.")
    def keep(name: str, pet: Pet) -> dict[str, Any]:
        app.state.asked.append(name)
        return {"kept": pet.name, "age": pet.age}

    @app.post("/pets", operation_id="add", status_code=204)
    def add(pet: Pet) -> None:
        app.state.asked.append(pet.name)

    @app.get("/answer/{how}", operation_id="answer")
    @app.post("/answer/{how}", operation_id="do")
    def answer(how: str, request: Request) -> Response:
        app.state.asked.append(how)
        app.state.headers.append(request.headers)
        match how:
            case "text":
                return PlainTextResponse("grüezi")
            case "latin":
                return Response("grüezi".encode("latin-1"), media_type="text/plain; charset=latin-1")
            case "not text":
                return Response(b"\xff\xfe", media_type="text/plain; charset=utf-8")
            case "picture":
                return Response(b"\x89PNG", media_type="image/png")
            case "no json":
                return Response("{", media_type="application/json")
            case "nan":
                return Response("[NaN]", media_type="application/json")
            case "deep":
                return Response("[" * 90_000 + "]" * 90_000, media_type="application/json")
            case "large":
                return Response(b"1" * 100_000_000, media_type="application/json")
            case "away":
                return RedirectResponse("http://127.0.0.2:9/x")
            case "elsewhere":
                return RedirectResponse("/answer/text")
            case "missing":
                raise HTTPException(404, "no such pet")
            case "echo":
                return JSONResponse({"headers": dict(request.headers), "url": str(request.url)})
            case "echo error":
                raise HTTPException(500, json.dumps({"headers": dict(request.headers), "url": str(request.url)}))
            case "echo no json":
                return Response(f"{{{request.headers}", media_type="application/json")
            case "echo redirect":
                return RedirectResponse(f"http://127.0.0.2:9/{request.headers.get('x-key')}")
            case _:
                raise HTTPException(int(how), "told to")

    return app


@pytest.fixture
def pets() -> Iterator[tuple[FastAPI, str]]:
    app = service()
    with listening(app) as port:
        yield app, f"http://127.0.0.1:{port}"


def write_document(path: Path, app: FastAPI, **changes: Any) -> str:
    path.write_text(json.dumps({**app.openapi(), **changes}), encoding="utf-8")
    return str(path)


def source_of(
    document: str,
    base_url: str | None,
    *,
    selection: Selection | None = None,
    allowed: AllowedAddresses = HOME,
    **service: Any,
) -> OpenApiSource:
    described = HttpService(document=document, base_url=base_url, allowed=allowed, **service)
    return OpenApiSource("openapi.pets", described, selection or Selection(), answer_limit_bytes=LIMIT_BYTES)


@asynccontextmanager
async def tools_of(source: OpenApiSource) -> AsyncIterator[Tools]:
    try:
        yield await opened(source)
    finally:
        await source.close()


@pytest.fixture
async def tools(pets: tuple[FastAPI, str], tmp_path: Path) -> AsyncIterator[Tools]:
    app, url = pets
    async with tools_of(source_of(write_document(tmp_path / "pets.json", app), url)) as found:
        yield found


async def test_operations_become_tools_with_facts_of_their_methods(tools: Tools) -> None:
    facts = {name: (tool.facts.read_only, tool.facts.idempotent) for name, tool in tools.items()}
    assert facts == {
        "find": (True, True),
        "keep": (False, True),
        "add": (False, False),
        "answer": (True, True),
        "do": (False, False),
    }
    assert tools["keep"].tool.description == "Keep a pet."
    assert tools["keep"].tool.parameters["required"] == ["name", "body"]


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("find", {"name": "a/b?c"}, None),
        ("find", {"name": "Rex", "trace": "t1"}, {"name": "Rex", "trace": "t1", "tag": None}),
        ("keep", {"name": "Rex", "body": {"name": "Rex", "age": 3}}, {"kept": "Rex", "age": 3}),
        ("add", {"body": {"name": "Rex", "age": 3}}, None),
        ("answer", {"how": "text"}, "grüezi"),
        ("answer", {"how": "latin"}, "grüezi"),
        ("answer", {"how": "elsewhere"}, "grüezi"),
    ],
)
async def test_call_is_the_request_that_the_document_describes(
    tools: Tools, name: str, arguments: Mapping[str, Any], value: Any
) -> None:
    if arguments.get("name") == "a/b?c":
        with pytest.raises(ToolRefused, match="404"):  # this service takes %2F for a slash, and has no such path
            await tools[name].runner.run(arguments)
    else:
        assert await tools[name].runner.run(arguments) == value


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ("missing", ToolRefused, "404 Not Found: .*no such pet"),
        ("422", ToolRefused, "422"),
        ("429", ToolFailed, "429"),
        ("503", ToolFailed, "503 Service Unavailable: .*told to"),
        ("not text", ToolRefused, "cannot be read"),
        ("picture", ToolRefused, "image/png, neither JSON nor text"),
        ("no json", ToolRefused, "says that it is JSON and is not"),
        ("nan", ToolRefused, "NaN"),
        ("deep", ToolRefused, "says that it is JSON and is not"),
        ("large", ToolRefused, f"larger than {LIMIT_BYTES} bytes"),
        ("away", ToolRefused, "private address"),
    ],
)
async def test_answer_that_is_no_value_is_an_error_that_says_why(
    tools: Tools, how: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await tools["answer"].runner.run({"how": how})
    assert await tools["answer"].runner.run({"how": "text"}) == "grüezi"


async def test_call_that_writes_follows_no_redirect(pets: tuple[FastAPI, str], tools: Tools) -> None:
    with pytest.raises(ToolRefused, match="another place"):
        await tools["do"].runner.run({"how": "elsewhere"})
    assert pets[0].state.asked == ["elsewhere"]


async def test_argument_that_cannot_be_sent_is_refused_before_anything_is(
    pets: tuple[FastAPI, str], tools: Tools
) -> None:
    with pytest.raises(InvalidArguments, match="name"):
        await tools["keep"].runner.run({"name": "..", "body": {"name": "Rex", "age": 3}})
    assert pets[0].state.asked == []


async def test_service_at_a_private_address_is_refused_unless_allowed(
    pets: tuple[FastAPI, str], tmp_path: Path
) -> None:
    app, url = pets
    document = write_document(tmp_path / "pets.json", app)
    async with tools_of(source_of(document, url, allowed=AllowedAddresses())) as tools:
        with pytest.raises(ToolRefused, match="private address"):
            await tools["add"].runner.run({"body": {"name": "Rex", "age": 3}})
    assert app.state.asked == []


async def test_service_that_is_not_there_is_a_failure_that_may_pass(pets: tuple[FastAPI, str], tmp_path: Path) -> None:
    document = write_document(tmp_path / "pets.json", pets[0])
    async with tools_of(source_of(document, "http://127.0.0.1:9")) as tools:
        with pytest.raises(ToolFailed, match="cannot be reached"):
            await tools["find"].runner.run({"name": "Rex"})


async def test_document_is_fetched_from_its_url_and_its_server_found_beside_it(pets: tuple[FastAPI, str]) -> None:
    app, url = pets
    app.servers = [{"url": "/"}]
    async with tools_of(source_of(f"{url}/openapi.json", None)) as tools:
        assert await tools["answer"].runner.run({"how": "text"}) == "grüezi"


@pytest.mark.parametrize("place", ["missing.json", "http://127.0.0.1:9/x.json", "http://169.254.169.254/x.json"])
async def test_document_that_cannot_be_had_is_refused_with_its_place(place: str) -> None:
    source = source_of(place, None)
    with pytest.raises(ConfigurationError, match=place):
        await source.open()
    await source.close()


async def test_document_without_a_server_needs_a_base_url(pets: tuple[FastAPI, str], tmp_path: Path) -> None:
    source = source_of(write_document(tmp_path / "pets.json", pets[0]), None)
    with pytest.raises(ConfigurationError, match="base_url"):
        await source.open()


async def test_operator_chooses_operations_and_what_is_left_out_need_not_be_readable(
    pets: tuple[FastAPI, str], tmp_path: Path
) -> None:
    app, url = pets

    @app.post("/upload", operation_id="upload")
    def upload() -> None: ...

    paths = app.openapi()["paths"]
    paths["/upload"]["post"]["requestBody"] = {"content": {"multipart/form-data": {"schema": {"type": "object"}}}}
    document = write_document(tmp_path / "pets.json", app, paths=paths)
    with pytest.raises(ConfigurationError, match="upload"):
        await source_of(document, url).open()
    selection = Selection(exclude=["upload"], prefix="pets_", facts={"keep": {"writes": ("pet:{name}",)}})
    async with tools_of(source_of(document, url, selection=selection)) as tools:
        assert list(tools) == ["pets_find", "pets_keep", "pets_add", "pets_answer", "pets_do"]
        assert tools["pets_keep"].facts.writes == ("pet:{name}",)


KEY = Secret("PETS_KEY", SECRET)
SCHEMES = {
    "header": {"type": "apiKey", "in": "header", "name": "X-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "key"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "session"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic"},
    "oauth": {"type": "oauth2", "flows": {}},
    "digest": {"type": "http", "scheme": "digest"},
}


def secured(path: Path, app: FastAPI, security: list[dict[str, list[str]]]) -> str:
    return write_document(
        path, app, security=security, components={**app.openapi()["components"], "securitySchemes": SCHEMES}
    )


@pytest.mark.parametrize(
    ("scheme", "sent"),
    [
        ("header", lambda asked: asked["headers"]["x-key"]),
        ("query", lambda asked: asked["url"].partition("key=")[2]),
        ("cookie", lambda asked: asked["headers"]["cookie"].partition("session=")[2]),
        ("bearer", lambda asked: asked["headers"]["authorization"].removeprefix("Bearer ")),
        ("basic", lambda asked: asked["headers"]["authorization"].removeprefix("Basic ").rstrip("=")),
        ("oauth", lambda asked: asked["headers"]["authorization"].removeprefix("Bearer ")),
    ],
)
async def test_secret_of_a_scheme_is_sent_where_the_scheme_says_and_stays_out_of_everything_else(
    pets: tuple[FastAPI, str], tmp_path: Path, scheme: str, sent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app, url = pets
    document = secured(tmp_path / "pets.json", app, [{"digest": []}, {scheme: []}])
    async with tools_of(source_of(document, url, secrets={scheme: KEY})) as tools:
        assert sent(await tools["answer"].runner.run({"how": "echo"})) == "[secret PETS_KEY]"
        for how in ("echo error", "echo no json", "echo redirect"):
            with pytest.raises((ToolFailed, ToolRefused)) as failure:
                await tools["answer"].runner.run({"how": how})
            assert not is_secret_in("".join(traceback.format_exception(failure.value)))
        assert SECRET not in str(tools["answer"].tool)
    assert not is_secret_in(caplog.text)


async def test_secret_is_what_the_service_is_told(pets: tuple[FastAPI, str], tmp_path: Path) -> None:
    app, url = pets
    for scheme in ("header", "basic"):
        document = secured(tmp_path / "pets.json", app, [{scheme: []}])
        async with tools_of(source_of(document, url, secrets={scheme: KEY})) as tools:
            await tools["answer"].runner.run({"how": "text"})
    first, second = app.state.headers
    assert first["X-Key"] == SECRET
    assert second["Authorization"] == f"Basic {base64.b64encode(SECRET.encode()).decode()}"


async def test_operation_for_which_no_secret_is_given_is_refused(pets: tuple[FastAPI, str], tmp_path: Path) -> None:
    app, url = pets
    document = secured(tmp_path / "pets.json", app, [{"header": [], "query": []}, {"bearer": []}])
    with pytest.raises(ConfigurationError, match="'header' and 'query' or 'bearer'"):
        await source_of(document, url, secrets={"header": KEY}).open()


async def test_operation_that_may_go_without_a_secret_goes_without(pets: tuple[FastAPI, str], tmp_path: Path) -> None:
    app, url = pets
    document = secured(tmp_path / "pets.json", app, [{"header": []}, {}])
    async with tools_of(source_of(document, url)) as tools:
        assert await tools["answer"].runner.run({"how": "text"}) == "grüezi"


async def test_secret_for_a_scheme_that_is_not_there_is_refused(pets: tuple[FastAPI, str], tmp_path: Path) -> None:
    app, url = pets
    with pytest.raises(ConfigurationError, match="no security scheme 'heeader'"):
        await source_of(secured(tmp_path / "pets.json", app, []), url, secrets={"heeader": KEY}).open()
