"""Servers for the tests of the wires."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.api.api_server import Serve, serving


@pytest.fixture(scope="module")
def serve_shared() -> Iterator[Serve]:
    """`serve` for a whole module of tests, where the server need not be fresh."""
    yield from serving()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server: `serve(["text"])`, or rounds of calls; engine options and limits by keyword."""
    yield from serving()
