"""SimpleTool's layout on the same engine, to compare latencies: a head for each argument, one call at a time.

arXiv:2603.00030 decodes the function's name and up to six arguments of one call in parallel, each by a head of its own
behind a tag, and asks again for the next call. Here the heads are branches over the conversation and the calls so far.
Only the shape is rebuilt: nothing is trained, so the values mean nothing; every head stops at its value's end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench_decode import TOOL, decode_once
from bench_vllm import ENGINE_ARGUMENTS, regime_question
from rich.console import Console
from rich.progress import Progress

from grammars.branch import Branch
from grammars.constraint import Constraint
from grammars.conversation import Conversation
from grammars.dialects import dialect_of
from grammars.prompt import render
from grammars.schema import read_schema
from grammars.tools import json_text
from serving.config import load_settings
from serving.decode.round import Decoder, RoundRequest
from serving.decode.streams import StreamEnded, run_streams
from serving.engines.base import BranchProgress, Engine
from serving.engines.build import build_engine

HEADS = 6
"""SimpleTool's argument heads."""

BRANCH_COUNTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class SimpleToolRow:
    """N calls of three arguments, warm prefix, one client: medians of seconds, plan included in `parallel_s`."""

    calls: int
    parallel_s: float
    simpletool_s: float
    ratio: float


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
    model: str, engine_name: str, counts: Sequence[int], repeats: int, console: Console
) -> SimpleToolReport:
    """The layouts, and what a step costs, on one engine."""
    arguments = ENGINE_ARGUMENTS if engine_name == "vllm" else {}
    engine = build_engine(load_settings({"model": model, "engine": engine_name, "engine_args": arguments}))
    return asyncio.run(_measure(engine, engine_name, counts, repeats, console))


async def _measure(
    engine: Engine, engine_name: str, counts: Sequence[int], repeats: int, console: Console
) -> SimpleToolReport:
    try:
        return SimpleToolReport(
            engine=engine_name,
            model=engine.model,
            rows=await simpletool_rows(engine, counts, repeats, console),
            steps=await step_rows(engine, 48, repeats, console),
        )
    finally:
        await engine.close()


async def simpletool_rows(engine: Engine, counts: Sequence[int], repeats: int, console: Console) -> list[SimpleToolRow]:
    """Both layouts, in turn, on the same questions."""
    decoder = Decoder(engine, dialect_of(engine.tokenizer))
    rows = []
    with Progress(console=console) as progress:
        task = progress.add_task("SimpleTool's layout", total=len(counts) * (repeats + 1))
        for calls in counts:
            ours, theirs = [], []
            for repeat in range(repeats + 1):
                asked = regime_question(engine, calls, "warm", "lines")
                run = await decode_once(decoder, asked, RoundRequest(), calls)
                start_s = time.perf_counter()
                await call_by_call(engine, asked, calls)
                if repeat:  # the first is the warm-up
                    ours.append(run.seconds)
                    theirs.append(time.perf_counter() - start_s)
                progress.advance(task)
            rows.append(
                SimpleToolRow(
                    calls=calls,
                    parallel_s=round(median(ours), 4),
                    simpletool_s=round(median(theirs), 4),
                    ratio=round(median(theirs) / median(ours), 2),
                )
            )
    return rows


async def call_by_call(engine: Engine, conversation: Conversation, calls: int) -> None:
    """So many inferences, each of all heads of one call over the conversation and the calls before it."""
    encode = engine.tokenizer.encode
    dialect = dialect_of(engine.tokenizer)
    prefix = await asyncio.to_thread(render, conversation, dialect, engine.tokenizer)
    parameters = TOOL.parameters["properties"]
    for _ in range(calls):
        heads = [Branch(suffix=encode("<function>"), constraint=Constraint.choice([TOOL.name]), max_new_tokens=32)]
        for number, schema in enumerate(list(parameters.values())[:HEADS], start=1):
            value = read_schema(schema, root="any").grammar
            heads.append(
                Branch(suffix=encode(f"<arg{number}>"), constraint=Constraint.schema(value), max_new_tokens=32)
            )
        texts = [""] * len(heads)
        async for event in run_streams(engine, prefix, heads):
            if isinstance(event, StreamEnded):
                texts[event.index] = event.end.text
        prefix = (*prefix, *encode(json_text({"name": texts[0], "arguments": texts[1:]}) + "\n"))


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
                    constraint=Constraint.regex("(?s:.{2000})"),
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
