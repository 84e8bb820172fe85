"""The servers that `scripts/bench frontend` compares, each a process of its own on one core.

`polycall` is the whole server with the scripted engine. `fastapi` is a bare echo: it reads the same bodies as JSON and
answers the very same answers, which it was given before. `vllm` is in `vllm_frontend.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

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

PORT = "port "
"""Before the port, in the line in which a server tells it."""

Side = Literal["fastapi", "vllm", "polycall"]

Answers = Mapping[str, str]
"""Bodies of answers, by the body's `user`, which names the case."""


def script(text: str, _constraint: Constraint) -> str:
    """A model that calls as often as the question says, each time with other arguments, or answers in text."""
    asked = asked_calls(text)
    if text.endswith('"arguments": '):
        numbers = re.findall(r"city (\d+)", text)
        return json_text({"city": f"City {numbers[-1] if numbers else 0}", "unit": "C"})
    if asked and "outline" in text:
        return "".join(f"get_weather: city {number}\n" for number in range(asked)) + "end"
    return TEXT


def asked_calls(text: str) -> int:
    """How many calls the question asks for."""
    return int(re.findall(r"Call (\d+) times", text)[-1])


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
def serving(side: Side, core: int, given: Mapping[str, str]) -> Iterator[int]:
    """The port of a server, which a process of its own runs on this core until the context ends. `given` are the
    answers for `fastapi`, and the folder of the `model` for `vllm`, which has the tokenizer that it needs.
    """
    program = Path(__file__).with_name("vllm_frontend.py" if side == "vllm" else "frontend_servers.py")
    command = [sys.executable, str(program), side, str(core)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "VLLM_LOGGING_LEVEL": "ERROR"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            port = next((line for line in process.stdout if line.startswith(PORT)), None)
            if port is None:
                raise RuntimeError(f"the server {side!r} did not start")
            yield int(port.removeprefix(PORT))
        finally:
            process.terminate()


async def listen(app: ASGIApp, core: int) -> None:
    """Serve the app on this core, having told the port on the standard output."""
    os.sched_setaffinity(0, {core})
    config = uvicorn.Config(app, port=0, log_level="warning", access_log=False, timeout_keep_alive=KEEP_S)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn signals nothing
        await asyncio.sleep(0.01)
    print(f"{PORT}{server.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await running


def run(server: Coroutine[Any, Any, None]) -> None:
    """Run it on the loop that uvicorn itself would choose."""
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        runner.run(server)


def main() -> None:
    """Serve the side on the core that the command line names, with what the standard input gives."""
    side, core = sys.argv[1:]
    given = json.loads(sys.stdin.readline())
    run(listen(fastapi_app(given) if side == "fastapi" else polycall_app(), int(core)))


if __name__ == "__main__":
    main()
