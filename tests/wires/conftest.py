"""Servers for the clients: the same that the tests of the wires have."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.serving.api.conftest import hello_server, serve
from tests.serving.execute.services import HttpMcpServer, wait_for

__all__ = ["hello_server", "serve"]

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # when it is imported, LiteLLM would ask the network for its prices


@pytest.fixture(scope="module")
def mcp() -> Iterator[HttpMcpServer]:
    """An MCP server that no test kills."""
    server = HttpMcpServer()
    server.start()
    wait_for(server.port)
    yield server
    server.kill()
