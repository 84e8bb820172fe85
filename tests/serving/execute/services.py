"""Real servers for the tests of sources of tools: HTTP services in threads, MCP servers in processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from serving.execute.server_tool import ServerTool
from serving.execute.sources import ToolSource

MCP_SERVER = Path(__file__).parent / "mcp_server.py"
FAULTY_MCP_SERVER = Path(__file__).parent / "faulty_mcp_server.py"

SECRET = "s3cret/of+the=service"
"""Of characters that every encoding writes differently."""


@contextmanager
def listening(app: Any, host: str = "127.0.0.1", port: int = 0, **options: Any) -> Iterator[int]:
    """The port on which the app is served, in a thread that is gone afterwards."""
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="critical", **options))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Returns once somebody listens."""
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class HttpMcpServer:
    """An MCP server over HTTP that can be killed and started again on the same port."""

    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def start(self) -> None:
        """Starts it. It listens a moment later; a client connects again until it does."""
        self.kill()
        command = [sys.executable, str(MCP_SERVER), "http", str(self.port), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


async def opened(source: ToolSource) -> dict[str, ServerTool]:
    """The tools of a source by name."""
    return {tool.tool.name: tool for tool in await source.open()}


def is_running(process_id: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")


def is_secret_in(text: str) -> bool:
    """Whether a text has the secret, or the better part of it in an encoding."""
    return any(part in text for part in (SECRET, "s3cret", "czNjcmV0", "of+the", "of%2Bthe"))
