"""A client that leaves: its branches are free within one decode step, its calls cancelled, its turn over."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from serving.api.app import ApiOptions
from serving.engines.transformers.engine import TransformersEngine
from serving.execute.registry import Registry
from serving.turn_request import TurnLimits
from tests.serving.api.api_server import Serve, Server, running

STEP_S = 0.1


def until(true: Callable[[], bool], limit_s: float) -> float:
    """Waits, and says for how long."""
    begin_s = time.monotonic()
    while not true():
        assert time.monotonic() - begin_s < limit_s
        time.sleep(0.001)
    return time.monotonic() - begin_s


def body(server: Server, *, stream: bool) -> dict[str, object]:
    return {"model": server.engine.model, "messages": [{"role": "user", "content": "hello"}], "stream": stream}


@pytest.mark.parametrize("stream", [True, False])
def test_branches_are_free_within_one_step_after_the_client_left(serve: Serve, stream: bool) -> None:
    server = serve(["A very long answer. " * 200], step_s=STEP_S)
    with httpx.Client(base_url=server.url, timeout=20) as client:
        if stream:
            with client.stream("POST", "/v1/chat/completions", json=body(server, stream=True)) as response:
                lines = response.iter_lines()  # held: an iterator that is collected closes the connection
                next(lines)
                until(lambda: server.engine.live_branches == 1, 1)
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/chat/completions", json=body(server, stream=False), timeout=3 * STEP_S)
    took_s = until(lambda: server.engine.live_branches == 0, 1)
    assert took_s < 2 * STEP_S, "the time of one step, and of the news of the closed connection"
    until(lambda: server.runner.live_turns == 0, 1)


@pytest.mark.slow
def test_branches_on_a_real_model_are_free_within_one_step_after_the_client_left(smollm2_folder: Path) -> None:
    engine = TransformersEngine.load(smollm2_folder, name="smollm2-135m", device="cpu")
    note = {"type": "string", "minLength": 400, "maxLength": 500}
    parameters = {"type": "object", "properties": {"note": note}, "required": ["note"]}
    tools = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in ("read", "write")]
    asked = {"tools": tools, "tool_choice": "required", "polycall": {"exact_tools": ["read", "write"]}}
    with running(engine, Registry(), TurnLimits(), ApiOptions()) as server:
        sent = json.dumps(body(server, stream=True) | asked)
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Length: {len(sent)}\r\n"
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n{sent}".encode())
            until(lambda: engine.live_branches == 2, 60)
        steps = engine.steps
        until(lambda: engine.live_branches == 0, 5)
        assert engine.steps - steps <= 2, "the step under way, and one while the news of the closed connection comes"


def test_a_client_that_leaves_while_its_first_token_is_awaited_is_noticed(serve: Serve) -> None:
    server = serve(["Slow."], step_s=0.5)
    with httpx.Client(base_url=server.url) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json=body(server, stream=True), timeout=0.1)
    until(lambda: server.engine.live_branches == 0, 0.3)


def test_running_calls_are_cancelled_when_the_client_leaves(serve: Serve) -> None:
    registry = Registry()
    seen: list[str] = []

    @registry.tool()
    async def wait() -> None:
        seen.append("started")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    server = serve([[("wait", {})], "Done."], registry=registry)
    with httpx.Client(base_url=server.url) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json=body(server, stream=False), timeout=0.3)
    until(lambda: seen == ["started", "cancelled"], 1)
    assert server.runner.live_turns == 0


def test_others_finish_when_one_client_leaves(serve: Serve) -> None:
    server = serve(["An answer of some length."], step_s=0.02)
    with httpx.Client(base_url=server.url, timeout=20) as staying, httpx.Client(base_url=server.url) as leaving:
        with leaving.stream("POST", "/v1/chat/completions", json=body(server, stream=True)) as response:
            next(response.iter_lines())
        answer = staying.post("/v1/chat/completions", json=body(server, stream=False)).json()
    assert answer["choices"][0]["message"]["content"] == "An answer of some length."
