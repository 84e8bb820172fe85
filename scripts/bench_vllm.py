"""polycall on vLLM against stock vLLM's own constrained tool calling: same weights, same machine, one run.

Both sides have prefix caching and the same block size, and write no optional whitespace. Stock vLLM has its own first
choice of grammar library, xgrammar; polycall's branches need none of the server. Stock vLLM runs as a server of its own
and is asked over HTTP; polycall decodes in this process, on vLLM's `AsyncLLM`.

Each N calls are asked of stock vLLM twice: through its tool calling (`tool_choice: required`, `--tool-strict-level
parameter`), which writes as many calls as the model likes, and through `structured_outputs` with an array of exactly N.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench_decode import WAYS, Question, Run, decode_once, plans_of, tally_sure, weather_question
from bench_stock import StockVllm
from rich.console import Console
from rich.progress import Progress
from stock_vllm import stock_vllm

from grammars.conversation import Conversation, Message
from grammars.dialects import dialect_of
from serving.config import load_settings
from serving.decode.round import Decoder, RoundRequest
from serving.engines.base import Engine
from serving.engines.build import build_engine
from serving.models.catalogue import resolve_model

BLOCK_SIZE = 32
"""Tokens in a block of the prefix cache, on both sides."""

ENGINE_ARGUMENTS: dict[str, Any] = {"max_model_len": 4096, "max_num_seqs": 256, "block_size": BLOCK_SIZE}

SERVER_OPTIONS = (
    *("--enable-prefix-caching", "--block-size", str(BLOCK_SIZE), "--max-model-len", "4096"),
    *("--max-num-seqs", "256"),
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--tool-strict-level", "parameter"),
    *("--structured-outputs-config.backend", "xgrammar"),  # vLLM's own choice; guidance refuses its hermes tool calls
    *("--structured-outputs-config.disable_any_whitespace", "true"),
)

CLIENTS = (1, 4, 16)

REGIMES = ("cold", "warm", "identical")
"""The prefix is new to the server; known but for the question; known whole."""

SETTLE_S = 1.5
"""The pause before a side is measured: on CPUs, vLLM's processes go on looking for work for a second after the last."""

QUESTION_NUMBERS = count()


@dataclass(frozen=True, kw_only=True)
class VllmRow:
    """N calls of three arguments, one client, warm prefix: medians of seconds.

    `parallel_s` has the plan in it: `plan_s` is how long that was written, `branches_s` how long the branches went on
    after it. `vllm_s` is stock vLLM's array of N, `ratio_vllm` how many times longer that takes; `vllm_tools_s` is its
    tool calling, which wrote `vllm_tool_calls` calls. `plan` and `tally_sure` are those of `DecodeRow`.
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
    plan: str
    tally_sure: float | None
    plan_s: float
    branches_s: float
    valid: bool
    vllm_s: float
    ratio_vllm: float
    vllm_valid: bool
    vllm_tools_s: float
    vllm_tool_calls: int


@dataclass(frozen=True, kw_only=True)
class RegimeRow:
    """Eight calls, one client, by what the caches know: seconds at the 50th and 95th percentile."""

    regime: str
    parallel_p50_s: float
    parallel_p95_s: float
    vllm_p50_s: float
    vllm_p95_s: float
    ratio_p50: float


@dataclass(frozen=True, kw_only=True)
class LoadRow:
    """Eight calls a request from so many clients at once, warm prefix: calls made in a second, all clients together."""

    clients: int
    parallel_calls_per_s: float
    vllm_calls_per_s: float
    ratio: float


@dataclass(frozen=True, kw_only=True)
class VllmReport:
    """All that one run measured."""

    rows: list[VllmRow]
    regimes: list[RegimeRow]
    load: list[LoadRow]


def measure_vllm(
    model: str,
    dtype: str,
    counts: Sequence[int],
    repeats: int,
    console: Console,
    question: Question,
    *,
    regimes: bool,
    eager: bool,
) -> VllmReport:
    """Both sides started, measured in turn, and stopped. `eager` ones do not compile the model before."""
    folder = resolve_model(model)
    type_name = "bfloat16" if dtype == "auto" else dtype
    settings = {
        "model": model,
        "engine": "vllm",
        "dtype": type_name,
        "engine_args": {**ENGINE_ARGUMENTS, "enforce_eager": eager},
    }
    engine = build_engine(load_settings(settings))
    log = Path(tempfile.mkdtemp(prefix="polycall-bench-")) / "stock-vllm.log"
    options = [*SERVER_OPTIONS, *(["--enforce-eager"] if eager else [])]
    with stock_vllm(folder, log, "--dtype", type_name, *options) as base_url:
        return asyncio.run(_measure(engine, base_url, model, counts, repeats, console, question, regimes=regimes))


async def _measure(
    engine: Engine,
    base_url: str,
    model: str,
    counts: Sequence[int],
    repeats: int,
    console: Console,
    question: Question,
    *,
    regimes: bool,
) -> VllmReport:
    stock = StockVllm(base_url, engine)
    measuring = Measuring(engine, stock, console, repeats, question)
    try:
        return VllmReport(
            rows=await measuring.rows(counts, model),
            regimes=await measuring.regimes(8) if regimes else [],
            load=await measuring.load(8) if regimes else [],
        )
    finally:
        await stock.close()
        await engine.close()


def regime_question(engine: Engine, calls: int, regime: str, question: Question) -> Conversation:
    """The weather question for so many cities: the same one, one with a new beginning, or one with a new end."""
    number = next(QUESTION_NUMBERS)
    if regime == "warm":
        asked = weather_question(engine, calls, question, first=number, days=2 + number % 7)
        return replace(asked, messages=(known_system(engine, calls, question), *asked.messages[1:]))
    known = weather_question(engine, calls, question)
    if regime == "cold":
        system, *rest = known.messages
        return replace(known, messages=(replace(system, text=f"Conversation {number}. {system.text}"), *rest))
    return known


def known_system(engine: Engine, calls: int, question: Question) -> Message:
    """The system message of the question that is always the same: its length goes with that of the cities' names."""
    return weather_question(engine, calls, question).messages[0]


class Measuring:
    """Both sides, in turn, on the same questions."""

    def __init__(self, engine: Engine, stock: StockVllm, console: Console, repeats: int, question: Question) -> None:
        self.engine = engine
        self._question: Question = question
        self.stock = stock
        self._console = console
        self._repeats = repeats
        self._decoder = Decoder(engine, dialect_of(engine.tokenizer))

    async def rows(self, counts: Sequence[int], model: str) -> list[VllmRow]:
        """One row for each number of calls."""
        rows = []
        with Progress(console=self._console) as progress:
            task = progress.add_task("warm prefix", total=len(counts) * (self._repeats + 1))
            for calls in counts:
                runs: dict[str, list[Run]] = {way: [] for way in (*WAYS, "vllm")}
                tools: list[tuple[float, int]] = []
                for repeat in range(self._repeats + 1):
                    asked = self.question(calls, "warm")
                    await asyncio.sleep(SETTLE_S)
                    done = {way: await self.decode(asked, request) for way, request in WAYS.items()}
                    await asyncio.sleep(SETTLE_S)
                    done["vllm"] = await self.stock.array(asked)
                    called = await self.stock.tools(asked)
                    progress.advance(task)
                    if repeat:  # the first is the warm-up
                        tools.append(called)
                        for way, run in done.items():
                            runs[way].append(run)
                rows.append(row_of(model, self._question, calls, runs, tools))
        return rows

    async def regimes(self, calls: int) -> list[RegimeRow]:
        """Eight calls in each regime."""
        rows = []
        with Progress(console=self._console) as progress:
            task = progress.add_task("cache regimes", total=len(REGIMES) * 2 * self._repeats)
            for regime in REGIMES:
                ours, theirs = [], []
                for _ in range(2 * self._repeats):
                    asked = self.question(calls, regime)
                    await asyncio.sleep(SETTLE_S)
                    ours.append((await self.decode(asked, RoundRequest())).seconds)
                    await asyncio.sleep(SETTLE_S)
                    theirs.append((await self.stock.array(asked)).seconds)
                    progress.advance(task)
                rows.append(
                    RegimeRow(
                        regime=regime,
                        parallel_p50_s=round(median(ours), 3),
                        parallel_p95_s=round(quantiles(ours, n=20)[-1], 3),
                        vllm_p50_s=round(median(theirs), 3),
                        vllm_p95_s=round(quantiles(theirs, n=20)[-1], 3),
                        ratio_p50=round(median(theirs) / median(ours), 2),
                    )
                )
        return rows

    async def load(self, calls: int) -> list[LoadRow]:
        """So many clients at once, each asking for eight calls."""
        rows = []
        with Progress(console=self._console) as progress:
            task = progress.add_task("clients at once", total=2 * len(CLIENTS))
            for clients in CLIENTS:
                asked = [self.question(calls, "warm") for _ in range(clients)]
                await asyncio.sleep(SETTLE_S)
                ours = await calls_per_s(lambda one: self.decode(one, RoundRequest()), asked, calls)
                progress.advance(task)
                await asyncio.sleep(SETTLE_S)
                theirs = await calls_per_s(self.stock.array, asked, calls)
                progress.advance(task)
                rows.append(
                    LoadRow(
                        clients=clients,
                        parallel_calls_per_s=round(ours, 2),
                        vllm_calls_per_s=round(theirs, 2),
                        ratio=round(ours / theirs, 2),
                    )
                )
        return rows

    def question(self, calls: int, regime: str) -> Conversation:
        return regime_question(self.engine, calls, regime, self._question)

    async def decode(self, conversation: Conversation, request: RoundRequest) -> Run:
        return await decode_once(self._decoder, conversation, request)


async def calls_per_s(
    ask: Callable[[Conversation], Awaitable[Run]], asked: Sequence[Conversation], calls: int
) -> float:
    """The clients' calls a second, from the first request to the last answer."""
    start_s = time.perf_counter()
    await asyncio.gather(*map(ask, asked))
    return len(asked) * calls / (time.perf_counter() - start_s)


def row_of(
    model: str, question: Question, calls: int, runs: Mapping[str, Sequence[Run]], tools: Sequence[tuple[float, int]]
) -> VllmRow:
    seconds = {way: median(run.seconds for run in done) for way, done in runs.items()}
    ours = runs["parallel"]
    return VllmRow(
        engine="vllm",
        model=model,
        question=question,
        calls=calls,
        sequential_s=round(seconds["sequential"], 4),
        sequential_skipping_s=round(seconds["sequential_skipping"], 4),
        parallel_s=round(seconds["parallel"], 4),
        ratio=round(seconds["sequential"] / seconds["parallel"], 2),
        sequential_steps=max(run.steps for run in runs["sequential"]),
        sequential_skipping_steps=max(run.steps for run in runs["sequential_skipping"]),
        parallel_steps=max(run.steps for run in ours),
        plan_steps=max(run.plan_steps for run in ours),
        plan=plans_of(ours),
        tally_sure=tally_sure(ours),
        plan_s=round(median(run.plan_s for run in ours), 4),
        branches_s=round(median(run.branches_s for run in ours), 4),
        valid=all(run.valid for way in WAYS for run in runs[way]),
        vllm_s=round(seconds["vllm"], 4),
        ratio_vllm=round(seconds["vllm"] / seconds["parallel"], 2),
        vllm_valid=all(run.valid for run in runs["vllm"]),
        vllm_tools_s=round(median(time_s for time_s, _ in tools), 4),
        vllm_tool_calls=round(median(made for _, made in tools)),
    )
