"""Servers for the clients: the same that the tests of the wires have."""

from __future__ import annotations

from tests.serving.api.conftest import hello_server, serve

__all__ = ["hello_server", "serve"]
