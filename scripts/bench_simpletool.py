"""SimpleTool's layout on the same engine, to compare latencies: a head for each argument, one call at a time.

arXiv:2603.00030 decodes the function's name and up to six arguments of one call in parallel, each by a head of its own
behind a tag, and asks again for the next call. Here the heads are branches over the conversation and the calls so far.
Only the shape is rebuilt, in two ways, since nothing is trained. Heads that know how long they are decode as many
tokens as the right value has, and one for the closing tag, without a grammar: what a model trained for it would take.
Heads that do not know write whatever the weak model makes of the value's schema, up to its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench_decode import CountingRow, Run, counting_figures, decode_once
from bench_questions import HOTELS, TOOL
from bench_vllm import ENGINE_ARGUMENTS, regime_question
from rich.console import Console
from rich.progress import Progress

from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.conversation import Conversation
from grammars.dialects import dialect_of
from grammars.prompt import render
from grammars.schema import read_schema
from grammars.tokenizer import Tokenizer
from grammars.tools import Tool, json_text
from serving.config import load_settings
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
from serving.decode.streams import run_streams
from serving.engines.base import BranchProgress, Engine
from serving.engines.build import build_engine

TAGS = ("<function>", *(f"<arg{number}>" for number in range(1, 7)))
"""What opens SimpleTool's heads: one for the function, six for arguments, of which it asks those a tool can fill."""

FREE = Constraint.regex("(?s:.{2000})")
"""Any text, longer than any head."""

BRANCH_COUNTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class SimpleToolRow(CountingRow):
    """N calls of three arguments, warm prefix, one client: medians of seconds, plan included in `parallel_s`.

    `simpletool_s` is with heads that know how long they are, `simpletool_untrained_s` with those that do not. `valid`
    says whether ours made the calls asked for, in so many `branches`.
    """

    valid: bool
    branches: int
    parallel_s: float
    simpletool_s: float
    ratio: float
    simpletool_untrained_s: float
    ratio_untrained: float


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """So many branches of free text at once on one prefix: seconds a decode step, and how much more than for one."""

    branches: int
    step_s: float
    over_one_percent: float


@dataclass(frozen=True, kw_only=True)
class SimpleToolReport:
    """Both tables of one run."""

    engine: str
    model: str
    rows: list[SimpleToolRow]
    steps: list[StepRow]


def measure_simpletool(
    model: str, engine_name: str, counts: Sequence[int], repeats: int, console: Console, options: DecodeOptions
) -> SimpleToolReport:
    """The layouts, and what a step costs, on one engine."""
    arguments = ENGINE_ARGUMENTS if engine_name == "vllm" else {}
    engine = build_engine(load_settings({"model": model, "engine": engine_name, "engine_args": arguments}))
    decoder = Decoder(engine, dialect_of(engine.tokenizer), options)
    return asyncio.run(_measure(decoder, engine_name, counts, repeats, console))


async def _measure(
    decoder: Decoder, engine_name: str, counts: Sequence[int], repeats: int, console: Console
) -> SimpleToolReport:
    engine = decoder.engine
    try:
        return SimpleToolReport(
            engine=engine_name,
            model=engine.model,
            rows=await simpletool_rows(decoder, counts, repeats, console),
            steps=await step_rows(engine, 48, repeats, console),
        )
    finally:
        await engine.close()


async def simpletool_rows(
    decoder: Decoder, counts: Sequence[int], repeats: int, console: Console
) -> list[SimpleToolRow]:
    """Both layouts, in turn, on the same questions."""
    engine = decoder.engine
    rows = []
    with Progress(console=console) as progress:
        task = progress.add_task("SimpleTool's layout", total=len(counts) * (repeats + 1))
        for calls in counts:
            ours: list[Run] = []
            counting: list[Run] = []
            knowing: list[float] = []
            untrained: list[float] = []
            for repeat in range(repeats + 1):
                asked = regime_question(engine, calls, "warm", "lines")
                run = await decode_once(decoder, asked, RoundRequest())
                if decoder.dialect.marks is not None:
                    counted = await decode_once(decoder, asked, RoundRequest(), counting=True)
                    counting += [counted] if repeat else []
                known_s = await call_by_call(engine, asked, knowing_heads)
                unknown_s = await call_by_call(engine, asked, untrained_heads)
                if repeat:  # the first is the warm-up
                    ours.append(run)
                    knowing.append(known_s)
                    untrained.append(unknown_s)
                progress.advance(task)
            parallel_s = median(run.seconds for run in ours)
            rows.append(
                SimpleToolRow(
                    calls=calls,
                    valid=all(run.valid for run in ours),
                    branches=max(run.branches for run in ours),
                    parallel_s=round(parallel_s, 4),
                    simpletool_s=round(median(knowing), 4),
                    ratio=round(median(knowing) / parallel_s, 2),
                    simpletool_untrained_s=round(median(untrained), 4),
                    ratio_untrained=round(median(untrained) / parallel_s, 2),
                    **counting_figures(counting, median(knowing)),
                )
            )
    return rows


Heads = Callable[[Tokenizer, Tool, Mapping[str, Any]], list[Branch]]
"""The heads of one call, of its function and of its arguments, for the call that would be right."""


def knowing_heads(tokenizer: Tokenizer, tool: Tool, arguments: Mapping[str, Any]) -> list[Branch]:
    """Each as long as the right value and a closing tag of one token."""
    texts = [tool.name, *map(str, arguments.values())]
    return [
        Branch(suffix=tokenizer.encode(tag), constraint=FREE, max_new_tokens=len(tokenizer.encode(text)) + 1)
        for tag, text in zip(TAGS, texts, strict=False)
    ]


def untrained_heads(tokenizer: Tokenizer, tool: Tool, arguments: Mapping[str, Any]) -> list[Branch]:
    """Each as long as the model makes it, inside the schema of its value."""
    schemas = [tool.parameters["properties"][name] for name in arguments]
    constraints = [Constraint.choice([tool.name])]
    constraints += [Constraint.schema(read_schema(schema, root="any").grammar) for schema in schemas]
    return [
        Branch(suffix=tokenizer.encode(tag), constraint=constraint, max_new_tokens=32)
        for tag, constraint in zip(TAGS, constraints, strict=False)
    ]


async def call_by_call(engine: Engine, conversation: Conversation, heads: Heads) -> float:
    """Seconds of as many inferences as there are calls, each of all heads of one call over the calls before it."""
    start_s = time.perf_counter()
    dialect = dialect_of(engine.tokenizer)
    prefix = await asyncio.to_thread(render, conversation, dialect, engine.tokenizer)
    for tool, arguments in asked_calls(conversation):
        async for _ in run_streams(engine, prefix, heads(engine.tokenizer, tool, arguments)):
            pass
        said = json_text({"name": tool.name, "arguments": arguments})
        prefix = (*prefix, *engine.tokenizer.encode(f"{said}\n"))
    return time.perf_counter() - start_s


def asked_calls(conversation: Conversation) -> Iterator[tuple[Tool, dict[str, Any]]]:
    """The calls that a question in lines asks for."""
    for line in conversation.messages[-1].text.splitlines():
        name, _, city = line.partition(": ")
        if name == TOOL.name:
            yield TOOL, {"city": city, "temperature_unit": "celsius", "forecast_days": 3}
        elif name == HOTELS.name:
            yield HOTELS, {"city": city, "room": "single", "nights": 3}


async def step_rows(engine: Engine, tokens: int, repeats: int, console: Console) -> list[StepRow]:
    """What one decode step costs with more branches. Time from the first progress of all to the last, over steps."""
    prefix = await asyncio.to_thread(
        render, regime_question(engine, 8, "identical", "lines"), dialect_of(engine.tokenizer), engine.tokenizer
    )
    rows: list[StepRow] = []
    with Progress(console=console) as progress:
        task = progress.add_task("decode steps", total=len(BRANCH_COUNTS) * repeats)
        for count in BRANCH_COUNTS:
            branches = [
                Branch(
                    suffix=engine.tokenizer.encode(f" {number}:"),
                    constraint=FREE,
                    max_new_tokens=tokens,
                )
                for number in range(count)
            ]
            measured = []
            for _ in range(repeats):
                marks = [
                    event.at_s
                    async for event in run_streams(engine, prefix, branches)
                    if isinstance(event, BranchProgress)
                ]
                measured.append((max(marks) - min(marks)) / (tokens - 1))
                progress.advance(task)
            step_s = median(measured)
            first = rows[0].step_s if rows else step_s
            rows.append(
                StepRow(branches=count, step_s=round(step_s, 5), over_one_percent=round(100 * (step_s / first - 1), 1))
            )
    return rows
