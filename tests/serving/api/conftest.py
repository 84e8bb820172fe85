"""Servers for the tests of the wires."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.api.api_server import Serve, Server, serving
from tests.serving.api.house import House


@pytest.fixture(scope="module")
def hello_server() -> Iterator[Server]:
    """A server that says "Hello." to everything, for tests that leave no traces in it."""
    for serve in serving():
        yield serve()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server: `serve(["text"])`, or rounds of calls; engine options and limits by keyword."""
    yield from serving()


@pytest.fixture
def house() -> House:
    return House()
