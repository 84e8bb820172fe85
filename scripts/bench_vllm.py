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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench_decode import Run, decode_in_all_ways, decode_once
from bench_questions import Question, weather_question
from bench_stock import StockVllm
from bench_vllm_report import LoadRow, RegimeRow, VllmReport, VllmRow, row_of
from rich.console import Console
from rich.progress import Progress
from stock_vllm import stock_vllm

from grammars.conversation import Conversation, Message
from grammars.dialects import dialect_of
from serving.config import load_settings
from serving.decode.round import DecodeOptions, Decoder, RoundRequest
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
    options: DecodeOptions,
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
    server_options = [*SERVER_OPTIONS, *(["--enforce-eager"] if eager else [])]
    with stock_vllm(folder, log, "--dtype", type_name, *server_options) as base_url:
        decoder = Decoder(engine, dialect_of(engine.tokenizer), options)
        return asyncio.run(_measure(decoder, base_url, model, counts, repeats, console, question, regimes=regimes))


async def _measure(
    decoder: Decoder,
    base_url: str,
    model: str,
    counts: Sequence[int],
    repeats: int,
    console: Console,
    question: Question,
    *,
    regimes: bool,
) -> VllmReport:
    stock = StockVllm(base_url, decoder.engine)
    measuring = Measuring(decoder, stock, console, repeats, question)
    try:
        return VllmReport(
            rows=await measuring.rows(counts, model),
            regimes=await measuring.regimes(8) if regimes else [],
            load=await measuring.load(8) if regimes else [],
        )
    finally:
        await stock.close()
        await decoder.engine.close()


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

    def __init__(self, decoder: Decoder, stock: StockVllm, console: Console, repeats: int, question: Question) -> None:
        self.engine = decoder.engine
        self._decoder = decoder
        self._question: Question = question
        self.stock = stock
        self._console = console
        self._repeats = repeats

    async def rows(self, counts: Sequence[int], model: str) -> list[VllmRow]:
        """One row for each number of calls."""
        rows = []
        with Progress(console=self._console) as progress:
            task = progress.add_task("warm prefix", total=len(counts) * (self._repeats + 1))
            for calls in counts:
                runs: dict[str, list[Run]] = {}
                tools: list[tuple[float, int]] = []
                for repeat in range(self._repeats + 1):
                    asked = self.question(calls, "warm")
                    await asyncio.sleep(SETTLE_S)
                    done = await decode_in_all_ways(self._decoder, asked)
                    await asyncio.sleep(SETTLE_S)
                    done["vllm"] = await self.stock.array(asked)
                    called = await self.stock.tools(asked)
                    progress.advance(task)
                    if repeat:  # the first is the warm-up
                        tools.append(called)
                        for way, run in done.items():
                            runs.setdefault(way, []).append(run)
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
