"""What the benchmark beside stock vLLM says: by the number of calls, what the caches know, and clients at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench_decode import WAYS, Run, plans_of, tally_sure
from bench_questions import Question


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
