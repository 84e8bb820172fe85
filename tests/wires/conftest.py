"""Servers for the clients: the same that the tests of the wires have."""

from __future__ import annotations

import os

from tests.serving.api.conftest import hello_server, serve

__all__ = ["hello_server", "serve"]

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # when it is imported, LiteLLM would ask the network for its prices
