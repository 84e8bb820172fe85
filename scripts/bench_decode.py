"""What decoding N calls takes: in one stream as every other server does, the same with forced tokens skipped, parallel.

The three ways take turns in one run, after a warm-up, over the same prefix of about a thousand tokens, which is held
from the warm-up on (a server's usual state: the tools and the conversation so far are known). The number of calls is
fixed through the caller's bounds, so that weak weights do the same work as strong ones.
"""

from __future__ import annotations

import asyncio
import platform
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from rich.console import Console
from rich.progress import Progress

from grammars.conversation import Choice, Conversation, Message
from grammars.dialects import dialect_of
from grammars.schema import read_schema
from grammars.tools import Tool, ToolCall
from serving.decode.events import CallWritten, RoundEnded
from serving.decode.round import Decoder, RoundRequest
from serving.engines.base import Engine
from serving.engines.transformers.engine import TransformersEngine

PREFIX_TOKENS = 1000

CITIES = (
    "Oslo",
    "Lisbon",
    "Rome",
    "Paris",
    "Berlin",
    "Madrid",
    "Vienna",
    "Prague",
    "Dublin",
    "Athens",
    "Warsaw",
    "Bern",
    "Riga",
    "Sofia",
    "Cairo",
    "Lima",
)

TOOL = Tool(
    name="get_weather",
    description="The weather forecast for a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 24},
            "temperature_unit": {"enum": ["celsius", "fahrenheit"]},
            "forecast_days": {"type": "integer", "minimum": 1, "maximum": 14},
        },
        "required": ["city", "temperature_unit", "forecast_days"],
    },
)


Question = Literal["lines", "prose"]
"""How the calls are asked for."""


@dataclass(frozen=True, kw_only=True)
class DecodeRow:
    """N calls of three arguments: medians of seconds, decode steps on the critical path, memory in MiB.

    `sequential` is one stream with a decode step a token; `sequential_skipping` the same without a step for forced
    tokens; `parallel` plan and branches. `ratio` is sequential over parallel. `peak_mib` is the memory of keys and
    values at its peak in a parallel run, prefix included; `peak_mib_one_branch` the same for one call.
    """

    engine: str
    model: str
    question: Question
    calls: int
    sequential_s: float
    sequential_skipping_s: float
    parallel_s: float
    ratio: float
    sequential_steps: int
    sequential_skipping_steps: int
    parallel_steps: int
    plan_steps: int
    valid: bool
    peak_mib: float | None
    peak_mib_one_branch: float | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One decoded round. `plan_s` is how long the plan was written, `branches_s` how long branches went on after it."""

    seconds: float
    steps: int
    plan_steps: int
    valid: bool
    plan_s: float = 0.0
    branches_s: float = 0.0


WAYS = {
    "sequential": RoundRequest(decoding="sequential"),
    "sequential_skipping": RoundRequest(decoding="sequential", skip_forced=True),
    "parallel": RoundRequest(decoding="parallel"),
}


def measure_decode(
    engine: Engine,
    engine_name: str,
    counts: Sequence[int],
    repeats: int,
    console: Console,
    question: Question,
) -> list[DecodeRow]:
    """One row for each number of calls, with a progress bar on `console`. Closes the engine."""
    return asyncio.run(_measure(engine, engine_name, counts, repeats, console, question))


async def _measure(
    engine: Engine, engine_name: str, counts: Sequence[int], repeats: int, console: Console, question: Question
) -> list[DecodeRow]:
    decoder = Decoder(engine, dialect_of(engine.tokenizer))
    rows: list[DecodeRow] = []
    one_branch = await peak_mib(decoder, weather_question(engine, 1, question))
    with Progress(console=console) as progress:
        task = progress.add_task("decoding", total=len(counts) * (repeats + 1) * len(WAYS))
        for count in counts:
            conversation = weather_question(engine, count, question)
            runs: dict[str, list[Run]] = {way: [] for way in WAYS}
            for repeat in range(repeats + 1):
                for way, request in WAYS.items():
                    run = await decode_once(decoder, conversation, request, count)
                    if repeat:  # the first is the warm-up
                        runs[way].append(run)
                    progress.advance(task)
            rows.append(
                row_of(engine, engine_name, question, count, runs, await peak_mib(decoder, conversation), one_branch)
            )
    await engine.close()
    return rows


def row_of(
    engine: Engine,
    engine_name: str,
    question: Question,
    count: int,
    runs: dict[str, list[Run]],
    peak: float | None,
    one_branch: float | None,
) -> DecodeRow:
    seconds = {way: median(run.seconds for run in done) for way, done in runs.items()}
    steps = {way: max(run.steps for run in done) for way, done in runs.items()}
    return DecodeRow(
        engine=engine_name,
        model=engine.model,
        question=question,
        calls=count,
        sequential_s=round(seconds["sequential"], 4),
        sequential_skipping_s=round(seconds["sequential_skipping"], 4),
        parallel_s=round(seconds["parallel"], 4),
        ratio=round(seconds["sequential"] / seconds["parallel"], 2),
        sequential_steps=steps["sequential"],
        sequential_skipping_steps=steps["sequential_skipping"],
        parallel_steps=steps["parallel"],
        plan_steps=max(run.plan_steps for run in runs["parallel"]),
        valid=all(run.valid for done in runs.values() for run in done),
        peak_mib=peak,
        peak_mib_one_branch=one_branch,
    )


def request_text(cities: Sequence[str], days: int, question: Question) -> str:
    """The request for these cities. Asked in prose, SmolLM2-135M copies the worked example into its outline; asked in
    lines that have the outline's own form, it copies these, and its calls are the ones that were asked for.
    """
    if question == "prose":
        return f"What is the weather in {', '.join(cities)}? In celsius, for the next {days} days."
    lines = "\n".join(f"{TOOL.name}: {city}" for city in cities)
    return f"Get the weather in celsius for the next {days} days.\n{lines}"


def weather_question(engine: Engine, count: int, question: Question = "lines") -> Conversation:
    """A request for `count` calls, exactly, behind system text that makes the prefix about a thousand tokens long."""
    text = request_text([CITIES[index % len(CITIES)] for index in range(count)], 3, question)
    choice = Choice(mode="required", least=count, most=count)
    sentence = "You are a careful assistant of a travel agency. "
    needed = PREFIX_TOKENS - len(engine.tokenizer.encode(text)) - 350  # about what tools and instructions take
    system = sentence * max(1, needed // len(engine.tokenizer.encode(sentence)))
    messages = [Message(role="system", text=system), Message(role="user", text=text)]
    return Conversation.read(messages, [TOOL], choice)


async def decode_once(decoder: Decoder, conversation: Conversation, request: RoundRequest, count: int) -> Run:
    """One round, from conversation to its last event, and whether it made exactly the calls that were asked."""
    calls: list[ToolCall] = []
    start_s = time.perf_counter()
    async for event in decoder.decode_round(conversation, request):
        if isinstance(event, CallWritten):
            calls.append(event.call)
        elif isinstance(event, RoundEnded):
            figures = event.figures
    seconds = time.perf_counter() - start_s
    schema = read_schema(TOOL.parameters)
    valid = len(calls) == count and not any(schema.problems(call.arguments) for call in calls)
    begin_s = min(span.start_s for span in figures.spans)
    plan_end_s = max((span.end_s for span in figures.spans if span.label == "plan"), default=begin_s)
    return Run(
        seconds=seconds,
        steps=figures.steps,
        plan_steps=figures.plan_steps,
        valid=valid,
        plan_s=plan_end_s - begin_s,
        branches_s=max(span.end_s for span in figures.spans) - plan_end_s,
    )


async def peak_mib(decoder: Decoder, conversation: Conversation) -> float | None:
    """The most memory that keys and values take in a parallel round, its prefix read anew."""
    engine = decoder.engine
    if not isinstance(engine, TransformersEngine):
        return None
    engine.forget_prefixes()
    engine.take_peak_rows_bytes()
    async for _ in decoder.decode_round(conversation, WAYS["parallel"]):
        pass
    return round(engine.take_peak_rows_bytes() / 2**20, 1)


def machine() -> str:
    """The machine in a few words, to stand beside figures."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return f"{found.group(1) if found else platform.processor()}, {torch.get_num_threads()} cores, no GPU"
