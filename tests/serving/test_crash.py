"""kill -9 in the middle of 200 turns, and clients that retry with the same keys: what happened in the world is counted.

Calls that must not run twice ran at most once, the others at least once: one server on SQLite, and two on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "crash_server.py"
TURNS = 200
KILLS = 3
PATIENCE_S = 120.0


class Killed:
    """A server that is killed now and then, and started again on the same port."""

    def __init__(self, journal: str, traces: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, str(SCRIPT), str(self.port), journal, str(traces)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)

    async def ready(self, client: httpx.AsyncClient) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                assert (await client.get(f"{self.url}/health")).status_code == 200
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def body(order: int) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": f"Please see to order number {order}."}]}


async def answered(client: httpx.AsyncClient, servers: Sequence[Killed], order: int) -> httpx.Response:
    """The answer, asked for with the same key, now here and now there, until it comes."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            headers = {"Idempotency-Key": f"order {order}"}
            url = f"{random.choice(servers).url}/v1/chat/completions"
            answer = await client.post(url, json=body(order), headers=headers)
            if answer.status_code == 200:
                return answer
            assert answer.status_code in (409, 503), answer.text
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "no answer"
        await asyncio.sleep(random.uniform(0.5, 1.5))


def traces_in(path: Path) -> Counter[str]:
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def charged(path: Path) -> int:
    return sum(count for what, count in traces_in(path).items() if what.startswith("charge "))


async def some_more_charges(path: Path, count: int, asking: asyncio.Future[Any]) -> None:
    """Wait until so many more have happened, or all has: one server may finish while another starts again.

    Charges and not labels, which may start without waiting for the journal: on a busy machine they may happen before
    any charge has begun. The last charge that happened is as a rule not over when the kill comes.
    """
    before = charged(path)
    while charged(path) < before + count and not asking.done():
        await asyncio.sleep(0.02)


def journal_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/journal.sqlite3"
    new: Callable[[], str] = request.getfixturevalue("postgres").new_database
    return new()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("sqlite", 1), ("postgresql", 2)])
async def test_calls_of_killed_servers_run_at_most_once_or_at_least_once_as_their_tools_say(
    kind: str, count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    traces = tmp_path / "traces"
    url = journal_url(kind, request, tmp_path)
    servers = [Killed(url, traces) for _ in range(count)]
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=PATIENCE_S, limits=limits) as client:
        for server in servers:
            server.start()
        try:
            for server in servers:
                await server.ready(client)
            asking = asyncio.gather(*(answered(client, servers, order) for order in range(TURNS)))
            for number in range(KILLS):
                await some_more_charges(traces, TURNS // 4, asking)
                server = servers[number % count]
                server.kill()
                server.start()
                await server.ready(client)
            answers = await asking
            happened = traces_in(traces)
            again = await asyncio.gather(*(answered(client, servers, order) for order in range(TURNS)))
        finally:
            for server in servers:
                server.kill()

    charges = {f"charge {order} {part}": 0 for order in range(TURNS) for part in "abc"}
    labels = {f"label {order} {part}": 0 for order in range(TURNS) for part in "abc"}
    assert set(happened) <= {*charges, *labels}
    assert [what for what in charges if happened[what] > 1] == [], "at most once"
    assert [what for what in labels if happened[what] < 1] == [], "at least once"

    unknown = set()
    for order, answer in enumerate(answers):
        calls = answer.json()["polycall"]["server_calls"]
        assert [(call["name"], call["arguments"]["part"]) for call in calls] == [
            ("charge", "a"), ("label", "a"), ("charge", "b"), ("label", "b"), ("charge", "c"), ("label", "c")
        ]  # fmt: skip
        for call in calls:
            what = f"{call['name']} {order} {call['arguments']['part']}"
            if call["error"] is None:
                assert happened[what] >= 1, "what has a result has happened"
            else:
                assert (call["name"], call["error"]["kind"]) == ("charge", "unknown_outcome")
                unknown.add(what)
    assert unknown, "the kills came in the middle of calls"
    assert any(count > 1 for what, count in happened.items() if what in labels), "some calls were run again"

    assert [answer.json() for answer in again] == [answer.json() for answer in answers], "given again as it was"
    assert all(answer.headers["Idempotent-Replayed"] == "true" for answer in again)
    assert traces_in(traces) == happened, "and nothing ran for it"
