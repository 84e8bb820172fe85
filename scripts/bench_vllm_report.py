"""What the benchmark beside stock vLLM says: by the number of calls, what the caches know, and clients at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench_decode import COUNTING, CallsRow, Run, calls_figures, counting_figures
from bench_questions import Question


@dataclass(frozen=True, kw_only=True)
class VllmRow(CallsRow):
    """One client, warm prefix. `plan_s` is how long of `parallel_s` the plan was written, `branches_s` how long the
    branches went on after it. `vllm_s` is stock vLLM's array of N, `ratio_vllm` how many times longer that takes, and
    `counting_ratio_vllm` how many times longer than polycall left to count. `vllm_tools_s` is its tool calling, which
    wrote `vllm_tool_calls` calls.
    """

    plan_s: float
    branches_s: float
    vllm_s: float
    ratio_vllm: float
    counting_ratio_vllm: float | None
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


def row_of(
    model: str, question: Question, calls: int, runs: Mapping[str, Sequence[Run]], tools: Sequence[tuple[float, int]]
) -> VllmRow:
    """The row of the runs of polycall's ways and of `vllm`, and of what its tool calling took and wrote."""
    ours, stock = runs["parallel"], runs["vllm"]
    stock_s = median(run.seconds for run in stock)
    counting = counting_figures(runs.get(COUNTING, ()), stock_s)
    return VllmRow(
        engine="vllm",
        model=model,
        **calls_figures(question, calls, runs),
        plan_s=round(median(run.plan_s for run in ours), 4),
        branches_s=round(median(run.branches_s for run in ours), 4),
        vllm_s=round(stock_s, 4),
        ratio_vllm=round(stock_s / median(run.seconds for run in ours), 2),
        counting_ratio_vllm=counting["counting_ratio"],
        vllm_valid=all(run.valid for run in stock),
        vllm_tools_s=round(median(time_s for time_s, _ in tools), 4),
        vllm_tool_calls=round(median(made for _, made in tools)),
    )
