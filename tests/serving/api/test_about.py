"""GET /v1/metadata, /v1/version and /v1/license."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx

from serving.api.about import LICENSE_URL
from tests.serving.api.api_server import Server

LICENSE = (Path(__file__).parents[3] / "LICENSE").read_text(encoding="utf-8")


def test_version_tells_release_and_api(hello_server: Server) -> None:
    assert httpx.get(f"{hello_server.url}/v1/version").json() == {"release": "0.1.0", "api": "1.0.0"}


def test_license_is_the_text_of_the_repository_with_its_digest(hello_server: Server) -> None:
    found = httpx.get(f"{hello_server.url}/v1/license").json()
    assert found.pop("content") == LICENSE
    assert found == {
        "name": "Apache-2.0",
        "path": "licenses/LICENSE",
        "sha": hashlib.sha1(LICENSE.encode()).hexdigest(),
        "size": len(LICENSE),
        "url": LICENSE_URL,
        "type": "file",
    }


def test_metadata_has_all_that_nim_tells_and_names_the_model(hello_server: Server) -> None:
    found = httpx.get(f"{hello_server.url}/v1/metadata").json()
    assert found["licenseInfo"] == httpx.get(f"{hello_server.url}/v1/license").json()
    assert found["modelInfo"] == [{"modelUrl": "", "shortName": "scripted"}]
    assert set(found) == {
        "assetInfo", "licenseInfo", "modelInfo", "repository_override", "version", "selectedModelProfileId"
    }  # fmt: skip
