"""The servers that `scripts/bench frontend` compares, each a process of its own on one core.

`polycall` is the whole server with the scripted engine. `fastapi` is a bare echo: it reads the same bodies as JSON and
answers the very same answers, which it was given before.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import ASGIApp

from grammars.constraint import Constraint
from grammars.dialects import dialect_of
from grammars.tools import json_text
from serving.api.app import ApiOptions, create_app
from serving.decode.round import Decoder
from serving.engines.scripted import ScriptedEngine
from serving.execute.execute import Executor
from serving.execute.registry import Registry
from serving.turn_request import TurnLimits
from serving.turn_runner import TurnRunner

PATH = "/v1/chat/completions"
TEXT = "It is warmer in Lisbon than in Oslo today."
KEEP_S = 600
"""How long a connection is kept open while the other side is asked."""

Side = Literal["polycall", "fastapi"]

Answers = Mapping[str, str]
"""Bodies of answers, by the body's `user`, which names the case."""


def script(text: str, _constraint: Constraint) -> str:
    """A model that calls as often as the question says, each time with other arguments, or answers in text."""
    asked = int(re.findall(r"Call (\d+) times", text)[-1])
    if text.endswith('"arguments": '):
        numbers = re.findall(r"city (\d+)", text)
        return json_text({"city": f"City {numbers[-1] if numbers else 0}", "unit": "C"})
    if asked and "outline" in text:
        return "".join(f"get_weather: city {number}\n" for number in range(asked)) + "end"
    return TEXT


def polycall_app() -> ASGIApp:
    engine = ScriptedEngine(script)
    runner = TurnRunner(Decoder(engine, dialect_of(engine.tokenizer)), Executor(Registry()), TurnLimits())
    return create_app(engine, runner, ApiOptions())


def fastapi_app(answers: Answers) -> ASGIApp:
    """The echo. A stream is sent event by event, as one that is written."""
    app = FastAPI()
    whole = {name: json.loads(answer) for name, answer in answers.items() if answer.startswith("{")}
    streams = {name: events_of(answer) for name, answer in answers.items() if name not in whole}

    @app.post(PATH)
    async def echo(request: Request) -> Response:
        name = (await request.json())["user"]
        if name in whole:
            return JSONResponse(whole[name])

        async def events() -> AsyncIterator[ServerSentEvent]:
            for event in streams[name]:
                yield ServerSentEvent(event)

        return EventSourceResponse(events())

    return app


def events_of(stream: str) -> list[str]:
    """What stands in the events of a stream."""
    return [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]


@contextmanager
def serving(side: Side, core: int, answers: Answers) -> Iterator[int]:
    """The port of a server, which a process of its own runs on this core until the context ends."""
    command = [sys.executable, __file__, side, str(core)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(answers) + "\n")
            process.stdin.flush()
            port = process.stdout.readline()
            if not port:
                raise RuntimeError(f"the server {side!r} did not start")
            yield int(port)
        finally:
            process.terminate()


def main() -> None:
    """Serve the side on the core that the command line names, with the answers from the standard input."""
    side, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    answers = json.loads(sys.stdin.readline())
    app = fastapi_app(answers) if side == "fastapi" else polycall_app()
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=KEEP_S)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
