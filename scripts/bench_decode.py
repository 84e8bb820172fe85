"""What decoding N calls takes: in one stream as every other server does, the same with forced tokens skipped, parallel.

The three ways take turns in one run, after a warm-up, over the same prefix of about a thousand tokens, which is held
from the warm-up on (a server's usual state: the tools and the conversation so far are known). The caller fixes the
number of calls. A model that plans by a tally has then little or nothing to plan, so it decodes a fourth time, left to
count by itself, as it must where nobody knows the number.
"""

from __future__ import annotations

import asyncio
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bench_questions import Question, weather_question
from rich.console import Console
from rich.progress import Progress

from grammars.conversation import DEFAULT_MOST_CALLS, Choice, Conversation
from grammars.dialects import dialect_of
from grammars.schema import read_schema
from grammars.tools import ToolCall
from serving.decode.events import CallWritten, Figures, RoundEnded
from serving.decode.planning import plan_forms
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
from serving.engines.base import Engine
from serving.engines.transformers.engine import TransformersEngine


@dataclass(frozen=True, kw_only=True)
class CountingRow:
    """N calls made in parallel by a model that plans by a tally and is left to count; of other models each is None.

    `counting_right` is the share of the runs that made N valid calls, `counting_plan` names the forms of plan that
    decided what was called, and `tally_sure` is the share in which the tally was sure enough to be the one.
    `counting_ratio` is how many times longer the other way of the row takes.
    """

    calls: int
    counting_s: float | None
    counting_ratio: float | None
    counting_steps: int | None
    counting_right: float | None
    counting_plan: str | None
    tally_sure: float | None


@dataclass(frozen=True, kw_only=True)
class CallsRow(CountingRow):
    """N calls of three arguments, decoded in three ways: medians of seconds, decode steps on the critical path.

    `sequential` is one stream with a decode step a token; `sequential_skipping` the same without a step for forced
    tokens; `parallel` plan and branches. `ratio` is sequential over parallel. `branches` are those of the parallel
    way: one a call, or one an argument. `valid` says whether all these runs made the N calls.
    """

    engine: str
    model: str
    question: Question
    sequential_s: float
    sequential_skipping_s: float
    parallel_s: float
    ratio: float
    sequential_steps: int
    sequential_skipping_steps: int
    parallel_steps: int
    plan_steps: int
    branches: int
    valid: bool


@dataclass(frozen=True, kw_only=True)
class DecodeRow(CallsRow):
    """And memory, in MiB: `peak_mib` is that of keys and values at its peak in a parallel run, prefix included;
    `peak_mib_one_branch` the same for one call.
    """

    peak_mib: float | None
    peak_mib_one_branch: float | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One decoded round. `plan_s` is how long the plan was written, `branches_s` how long branches went on after it.

    `plan` is the form of plan that decided, if one did; `tallied` says whether a tally was tried.
    """

    seconds: float
    steps: int
    plan_steps: int
    valid: bool
    plan_s: float = 0.0
    branches_s: float = 0.0
    plan: str = ""
    tallied: bool = False
    branches: int = 0


WAYS = {
    "sequential": RoundRequest(decoding="sequential"),
    "sequential_skipping": RoundRequest(decoding="sequential", skip_forced=True),
    "parallel": RoundRequest(decoding="parallel"),
}

COUNTING = "counting"
"""The name of the fourth way."""


def measure_decode(
    engine: Engine,
    engine_name: str,
    counts: Sequence[int],
    repeats: int,
    console: Console,
    question: Question,
    options: DecodeOptions,
) -> list[DecodeRow]:
    """One row for each number of calls, with a progress bar on `console`. Closes the engine."""
    decoder = Decoder(engine, dialect_of(engine.tokenizer), options)
    return asyncio.run(_measure(decoder, engine_name, counts, repeats, console, question))


async def _measure(
    decoder: Decoder, engine_name: str, counts: Sequence[int], repeats: int, console: Console, question: Question
) -> list[DecodeRow]:
    engine = decoder.engine
    rows: list[DecodeRow] = []
    whole = Decoder(engine, decoder.dialect)  # an argument is no branch of its own
    one_branch = await peak_mib(whole, weather_question(engine, 1, question))
    with Progress(console=console) as progress:
        task = progress.add_task("decoding", total=len(counts) * (repeats + 1))
        for count in counts:
            conversation = weather_question(engine, count, question)
            runs: dict[str, list[Run]] = {}
            for repeat in range(repeats + 1):
                done = await decode_in_all_ways(decoder, conversation)
                for way, run in done.items() if repeat else ():  # the first is the warm-up
                    runs.setdefault(way, []).append(run)
                progress.advance(task)
            rows.append(
                DecodeRow(
                    engine=engine_name,
                    model=engine.model,
                    **calls_figures(question, count, runs),
                    peak_mib=await peak_mib(decoder, conversation),
                    peak_mib_one_branch=one_branch,
                )
            )
    await engine.close()
    return rows


def calls_figures(question: Question, count: int, runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """The fields of a `CallsRow` that the runs of the three ways say."""
    seconds = {way: median(run.seconds for run in runs[way]) for way in WAYS}
    return {
        "question": question,
        "calls": count,
        **{f"{way}_s": round(seconds[way], 4) for way in WAYS},
        "ratio": round(seconds["sequential"] / seconds["parallel"], 2),
        **{f"{way}_steps": max(run.steps for run in runs[way]) for way in WAYS},
        "plan_steps": max(run.plan_steps for run in runs["parallel"]),
        "branches": max(run.branches for run in runs["parallel"]),
        "valid": all(run.valid for way in WAYS for run in runs[way]),
        **counting_figures(runs.get(COUNTING, ()), seconds["sequential"]),
    }


def counting_figures(counting: Sequence[Run], other_s: float) -> dict[str, Any]:
    """The fields of a row about the runs that were left to count, beside the seconds that another way takes."""
    if not counting:
        return {field.name: None for field in fields(CountingRow) if field.name != "calls"}
    seconds = median(run.seconds for run in counting)
    return {
        "counting_s": round(seconds, 4),
        "counting_ratio": round(other_s / seconds, 2),
        "counting_steps": max(run.steps for run in counting),
        "counting_right": round(sum(run.valid for run in counting) / len(counting), 2),
        "counting_plan": plans_of(counting),
        "tally_sure": tally_sure(counting),
    }


def plans_of(runs: Sequence[Run]) -> str:
    """The forms of plan that decided in these runs."""
    return ", ".join(sorted({run.plan for run in runs}))


def tally_sure(runs: Sequence[Run]) -> float | None:
    """The share of the runs that were tallied in which the tally decided."""
    tallied = [run.plan == "tally" for run in runs if run.tallied]
    return round(sum(tallied) / len(tallied), 2) if tallied else None


def left_to_count(conversation: Conversation) -> Conversation:
    """The same, and nothing tells the model how many calls it should make."""
    most = max(DEFAULT_MOST_CALLS, conversation.choice.most)
    return replace(conversation, choice=Choice(mode="required", least=1, most=most))


async def decode_in_all_ways(decoder: Decoder, conversation: Conversation) -> dict[str, Run]:
    """One run of each way, in turn."""
    done = {way: await decode_once(decoder, conversation, request) for way, request in WAYS.items()}
    if decoder.dialect.marks is not None:
        done[COUNTING] = await decode_once(decoder, conversation, WAYS["parallel"], counting=True)
    return done


async def decode_once(
    decoder: Decoder, conversation: Conversation, request: RoundRequest, *, counting: bool = False
) -> Run:
    """One round, from conversation to its last event, and whether it made exactly the calls that were asked."""
    asked = left_to_count(conversation) if counting else conversation
    calls: list[ToolCall] = []
    start_s = time.perf_counter()
    async for event in decoder.decode_round(asked, request):
        if isinstance(event, CallWritten):
            calls.append(event.call)
        elif isinstance(event, RoundEnded):
            figures = event.figures
    seconds = time.perf_counter() - start_s
    begin_s = min(span.start_s for span in figures.spans)
    plan_end_s = max((span.end_s for span in figures.spans if span.label == "plan"), default=begin_s)
    return Run(
        seconds=seconds,
        steps=figures.steps,
        plan_steps=figures.plan_steps,
        valid=are_due(calls, conversation),
        plan_s=plan_end_s - begin_s,
        branches_s=max(span.end_s for span in figures.spans) - plan_end_s,
        plan=plan_of(figures, decoder, asked),
        branches=figures.branches,
        tallied=figures.plan_steps > 0 and len(plan_forms(decoder.options, decoder.dialect, asked)) > 1,
    )


def are_due(calls: Sequence[ToolCall], conversation: Conversation) -> bool:
    """Whether there are as many calls as were asked for, each with arguments as its tool wants them."""
    schemas = {tool.name: read_schema(tool.parameters) for tool in conversation.tools}
    return len(calls) == conversation.choice.least and not any(
        schemas[call.name].problems(call.arguments) for call in calls
    )


def plan_of(figures: Figures, decoder: Decoder, conversation: Conversation) -> str:
    """The name of the form of plan that decided what was called, "none" where one stream wrote all of it."""
    if not figures.plan_steps or any(span.label == "calls" for span in figures.spans):
        return "none"
    first, *others = plan_forms(decoder.options, decoder.dialect, conversation)
    return others[0].name if others and figures.plan_steps > 1 else first.name  # a tally takes one step


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
