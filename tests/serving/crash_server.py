"""A server to kill: the real application on a real socket, with tools that leave traces in a file.

python crash_server.py PORT JOURNAL-URL TRACES
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from pathlib import Path

import uvicorn

from grammars.constraint import Constraint
from grammars.dialects import dialect_of
from serving.api.app import create_app
from serving.decode.round import Decoder
from serving.engines.scripted import Answer, ScriptedEngine
from serving.execute.database.journal import DatabaseJournal
from serving.execute.execute import Executor
from serving.execute.registry import Registry
from serving.turn_request import TurnLimits
from serving.turn_runner import TurnRunner
from tests.serving.api.api_server import Rounds, Said

LEASE_S = 2.0


def rounds_of(order: int) -> list[Said]:
    """What the model says about an order: four calls, then two, then text."""
    first = [(tool, {"order": order, "part": part}) for part in ("a", "b") for tool in ("charge", "label")]
    second = [(tool, {"order": order, "part": "c"}) for tool in ("charge", "label")]
    return [first, second, f"Order {order} is done."]


def says(text: str, constraint: Constraint) -> Answer:
    order = re.search(r"order number (\d+)", text)
    assert order is not None
    return Rounds(rounds_of(int(order[1])))(text, constraint)


def tools(traces: Path) -> Registry:
    registry = Registry()

    async def leave(name: str, order: int, part: str) -> str:
        """Something happens in the world, some time after the call began and some time before it ends."""
        await asyncio.sleep(random.uniform(0.0, 0.6))
        file = os.open(traces, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{name} {order} {part}\n".encode())  # one write, so that no kill leaves half a line
        os.close(file)
        await asyncio.sleep(random.uniform(0.0, 0.6))
        return f"{name}d"

    @registry.tool()
    async def charge(order: int, part: str) -> str:
        return await leave("charge", order, part)

    @registry.tool(idempotent=True)
    async def label(order: int, part: str) -> str:
        return await leave("label", order, part)

    return registry


def main(port: int, journal: str, traces: Path) -> None:
    engine = ScriptedEngine(says)
    runner = TurnRunner(
        Decoder(engine, dialect_of(engine.tokenizer)),
        Executor(tools(traces)),
        TurnLimits(turns=1000),
        DatabaseJournal(journal, lease_s=LEASE_S),
    )
    uvicorn.run(create_app(engine, runner), port=port, log_level="critical")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
