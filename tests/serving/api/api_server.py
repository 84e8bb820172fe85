"""A real server for the tests of the wires: uvicorn in a thread, the real decoder, and the scripted engine."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import uvicorn
from openai import AsyncOpenAI, OpenAI

from grammars.constraint import Constraint
from grammars.dialects import dialect_of
from grammars.tools import json_text
from serving.api.app import ApiOptions, create_app
from serving.decode.round import Decoder
from serving.engines.base import Engine
from serving.engines.scripted import Answer, ScriptedEngine
from serving.execute.execute import Executor
from serving.execute.journal import Journal
from serving.execute.registry import Registry
from serving.execute.toolbox import Toolbox
from serving.turn_request import TurnLimits
from serving.turn_runner import TurnRunner
from serving.turn_tools import ServerOpener

Call = tuple[str, dict[str, Any]]
Said = str | Sequence[Call]


@dataclass(frozen=True)
class Rounds:
    """A script for the engine: what the model says in each round of a conversation, text or calls.

    Which round it is shows in how often the assistant has begun to speak; how it is asked, in the prompt's end.
    """

    rounds: Sequence[Said]

    def __call__(self, text: str, constraint: Constraint) -> Answer:
        said = self.rounds[text.count("<|im_start|>assistant\n") - 1]
        if isinstance(said, str):
            return "end" if "outline" in text and not is_text(constraint) else said
        if text.endswith('"arguments": '):
            numbers = re.findall(r"\bcall (\d+)", text)
            return json_text(said[int(numbers[-1]) if numbers else 0][1])
        if "outline" in text:
            return "".join(f"{name}: call {number}\n" for number, (name, _) in enumerate(said)) + "end"
        return json_text({"tool_calls": [{"name": name, "arguments": arguments} for name, arguments in said]})


def is_text(constraint: Constraint) -> bool:
    """Whether the constraint is the one for free text."""
    return constraint.lark.startswith("start: TEXT")


@dataclass
class Server:
    url: str
    engine: Engine
    runner: TurnRunner
    api_key: str = "no key"

    @cached_property
    def client(self) -> OpenAI:
        """The real client, which does not retry."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.api_key, max_retries=0, timeout=20)

    def async_client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.api_key, max_retries=0, timeout=20)


@contextmanager
def running(
    engine: Engine,
    registry: Registry,
    limits: TurnLimits,
    options: ApiOptions,
    journal: Journal | None = None,
    toolbox: Toolbox | None = None,
    opener: ServerOpener | None = None,
) -> Iterator[Server]:
    """The server, listening; its thread is gone afterwards."""
    toolbox = toolbox or Toolbox(registry=registry)
    executor = Executor(toolbox.registry)
    runner = TurnRunner(Decoder(engine, dialect_of(engine.tokenizer)), executor, limits, journal, opener)
    app = create_app(engine, runner, options, toolbox)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        found = Server(f"http://127.0.0.1:{port}", engine, runner, options.keys[0].key if options.keys else "no key")
        yield found
        if "client" in vars(found):  # which costs more to make than a server, and not every test wants it
            found.client.close()
    finally:
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()


Serve = Callable[..., Server]


def serving() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(
            rounds: Sequence[Said] | Callable[[str, Constraint], Answer] = ("Hello.",),
            *,
            registry: Registry | None = None,
            limits: TurnLimits | None = None,
            options: ApiOptions | None = None,
            journal: Journal | None = None,
            toolbox: Toolbox | None = None,
            opener: ServerOpener | None = None,
            engine_type: Callable[..., ScriptedEngine] = ScriptedEngine,
            **engine: Any,
        ) -> Server:
            script = rounds if callable(rounds) else Rounds(rounds)
            return stack.enter_context(
                running(
                    engine_type(script, **engine),
                    registry or Registry(),
                    limits or TurnLimits(),
                    options or ApiOptions(),
                    journal,
                    toolbox,
                    opener,
                )
            )

        yield start
