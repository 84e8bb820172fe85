"""What the front end takes a request: the server with a scripted engine, beside FastAPI's bare echo of its answers, and
stock vLLM's API server on an engine that has the answer at once.

One client, one request at a time, over one connection, on a core of its own; the sides take turns.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from frontend_servers import PATH, Side, serving
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

CALLS = (0, 1, 8)
SIDES = ("fastapi", "vllm", "polycall")
BLOCK = 20
"""How many requests a side answers before the other one has its turn."""

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in one city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request that makes so many calls; 0 is answered in text."""

    calls: int
    streamed: bool

    @property
    def name(self) -> str:
        what = f"{self.calls} call{'s' * (self.calls > 1)}" if self.calls else "text"
        return f"{what}, {'streamed' if self.streamed else 'whole'}"

    def body(self) -> bytes:
        words = "Is it warmer in Lisbon or in Oslo? " * 8
        messages = [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": f"{words}Call {self.calls} times."},
        ]
        tools = {"tools": [TOOL]} if self.calls else {}
        body = {"model": "scripted", "user": self.name, "messages": messages, "stream": self.streamed, **tools}
        return json.dumps(body).encode()


@dataclass(frozen=True, kw_only=True)
class FrontendRow:
    """A case on a side, in milliseconds from the request's first byte. `ratio` is of the p50 to the echo's, and
    `ratio_vllm` to stock vLLM's.

    `turn_p50_ms` is what of the p50 the turn itself takes by its own report, which is decoding, in Python, by the
    scripted engine; `rest_p50_ms` leaves it out. An echo has no turn, and vLLM's engine decodes nothing.
    """

    case: str
    side: str
    requests: int
    first_byte_p50_ms: float
    p50_ms: float
    p95_ms: float
    ratio: float
    ratio_vllm: float | None
    turn_p50_ms: float | None = None
    rest_p50_ms: float | None = None


@dataclass(kw_only=True)
class Times:
    first_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    turn_s: list[float] = field(default_factory=list)


def measure_frontend(requests: int, vllm_model: Path | None, console: Console) -> list[FrontendRow]:
    """All cases on all sides, so many requests each after as many to warm up as are one block. Stock vLLM is among
    them if there is the folder of a model, whose tokenizer it needs.
    """
    cores = sorted(os.sched_getaffinity(0))
    cases = [Case(calls=calls, streamed=streamed) for calls in CALLS for streamed in (False, True)]
    rows: list[FrontendRow] = []
    try:
        with ExitStack() as stack, Progress(console=console) as progress:
            # Servers take turns, so that one core is enough for both; the client has another one, if there is one.
            os.sched_setaffinity(0, {cores[-1]})
            polycall = stack.enter_context(client_of("polycall", cores[0], {}))
            clients = {"polycall": polycall}
            if vllm_model is not None:
                clients["vllm"] = stack.enter_context(client_of("vllm", cores[0], {"model": str(vllm_model)}))
            answers = {case.name: polycall.ask(case).body.decode() for case in cases}
            clients["fastapi"] = stack.enter_context(client_of("fastapi", cores[0], answers))
            task = progress.add_task("asking", total=len(cases))
            for case in cases:
                rows += case_rows(case, clients, requests)
                progress.advance(task)
    finally:
        os.sched_setaffinity(0, set(cores))
    return rows


@contextmanager
def client_of(side: Side, core: int, given: Mapping[str, str]) -> Iterator[Client]:
    """A client of a server of its own."""
    with serving(side, core, given) as port, closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        yield Client(connection)


@dataclass(frozen=True, kw_only=True)
class Answered:
    body: bytes
    first_s: float
    whole_s: float


class Client:
    """One connection to a server, kept open."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def ask(self, case: Case) -> Answered:
        """The answer and when it came: its first byte, and all of it."""
        body = case.body()
        begin_s = time.perf_counter()
        self._connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        found = response.read(1)
        first_s = time.perf_counter() - begin_s
        found += response.read()
        whole_s = time.perf_counter() - begin_s
        if response.status != 200:
            raise RuntimeError(f"{case.name}: {response.status} {found.decode()}")
        return Answered(body=found, first_s=first_s, whole_s=whole_s)


def case_rows(case: Case, clients: dict[str, Client], requests: int) -> list[FrontendRow]:
    times = {side: Times() for side in SIDES if side in clients}
    for client in clients.values():
        for _ in range(BLOCK):
            client.ask(case)
    for _ in range(0, requests, BLOCK):
        for side, client in clients.items():
            for _ in range(BLOCK):
                answered = client.ask(case)
                times[side].first_s.append(answered.first_s)
                times[side].whole_s.append(answered.whole_s)
                if side == "polycall":
                    times[side].turn_s.append(report_of(answered.body)["times"]["total_s"])
    p50s_s = {side: median(found.whole_s) for side, found in times.items()}
    return [row(case, side, found, p50s_s) for side, found in times.items()]


def report_of(answer: bytes) -> dict[str, Any]:
    """The turn's report in an answer, which a stream has in its last event but `[DONE]`."""
    text = answer.decode()
    if not text.startswith("{"):
        text = [line for line in text.splitlines() if line.startswith("data: {")][-1].removeprefix("data: ")
    found: dict[str, Any] = json.loads(text)["polycall"]
    return found


def row(case: Case, side: str, times: Times, p50s_s: dict[str, float]) -> FrontendRow:
    p50_s = median(times.whole_s)
    turn_s = median(times.turn_s) if times.turn_s else None
    return FrontendRow(
        case=case.name,
        side=side,
        requests=len(times.whole_s),
        first_byte_p50_ms=milliseconds(median(times.first_s)),
        p50_ms=milliseconds(p50_s),
        p95_ms=milliseconds(quantiles(times.whole_s, n=20)[-1]),
        ratio=round(p50_s / p50s_s["fastapi"], 2),
        ratio_vllm=round(p50_s / p50s_s["vllm"], 2) if "vllm" in p50s_s else None,
        turn_p50_ms=None if turn_s is None else milliseconds(turn_s),
        rest_p50_ms=None if turn_s is None else milliseconds(p50_s - turn_s),
    )


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)


def frontend_table(rows: Sequence[FrontendRow], machine: str) -> Table:
    """The rows, one line each, case by case."""
    view = Table(title=f"the front end, one request at a time on one core, {machine}")
    for column in ("case", "side", "first byte ms", "p50 ms", "p95 ms", "ratio", "to vLLM", "turn ms", "rest ms"):
        view.add_column(column, justify="left" if column in ("case", "side") else "right")
    last = None
    for row in rows:
        if last is not None and row.case != last:
            view.add_section()
        times = (row.first_byte_p50_ms, row.p50_ms, row.p95_ms)
        cells = (*times, row.ratio, row.ratio_vllm, row.turn_p50_ms, row.rest_p50_ms)
        shown = ["" if cell is None else str(cell) for cell in cells]
        view.add_row(row.case if row.case != last else "", row.side, *shown)
        last = row.case
    return view
