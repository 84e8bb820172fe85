"""GET /v1/metadata, /v1/version and /v1/license, as NVIDIA's NIM has them: what runs here, and under which terms."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import Distribution, distribution
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from serving.engines.base import Engine

PACKAGE = "polycall"

API_VERSION = "1.0.0"
"""Of the wires as a whole: it changes when a client would notice."""

LICENSE_URL = "https://www.apache.org/licenses/LICENSE-2.0"


class Version(BaseModel):
    """`release` is of this software, `api` of what it speaks."""

    release: str
    api: str


class License(BaseModel):
    """The licence of this software, not of the model's weights. `sha` is the SHA-1 of `content`, `size` its length."""

    name: str
    path: str
    sha: str
    size: int
    url: str
    type: Literal["file"]
    content: str


class ModelInfo(BaseModel):
    """`model_url` is empty: where weights came from is not told."""

    model_url: str = Field(serialization_alias="modelUrl")
    short_name: str = Field(serialization_alias="shortName")


class Metadata(BaseModel):
    """What NIM's fields say that have no counterpart here (assets of a container, profiles of a model) is empty."""

    asset_info: list[str] = Field(serialization_alias="assetInfo")
    license_info: License = Field(serialization_alias="licenseInfo")
    model_info: list[ModelInfo] = Field(serialization_alias="modelInfo")
    repository_override: str
    version: str
    selected_model_profile_id: str = Field(serialization_alias="selectedModelProfileId")


def about_router(engine: Engine) -> APIRouter:
    """What runs here. The model's adapters are models of their own."""
    router = APIRouter(tags=["operations"])

    @router.get("/v1/version")
    async def version() -> Version:
        return Version(release=release(), api=API_VERSION)

    @router.get("/v1/license")
    async def license() -> License:
        return read_license()

    @router.get("/v1/metadata")
    async def metadata() -> Metadata:
        return Metadata(
            asset_info=[],
            license_info=read_license(),
            model_info=[ModelInfo(model_url="", short_name=name) for name in (engine.model, *engine.adapters)],
            repository_override="",
            version=release(),
            selected_model_profile_id="",
        )

    return router


@cache
def release() -> str:
    """The version of the software that is installed."""
    return distribution(PACKAGE).version


@cache
def read_license() -> License:
    """The licence that came with the software."""
    path = "licenses/LICENSE"
    texts = (found.read_text(path) for found in Distribution.discover(name=PACKAGE))  # a checkout may be found twice
    content = next(text for text in texts if text is not None)
    return License(
        name="Apache-2.0",
        path=path,
        sha=hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest(),
        size=len(content),
        url=LICENSE_URL,
        type="file",
        content=content,
    )
