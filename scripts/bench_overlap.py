"""What it saves to run calls while the model still writes: a round of real or scripted decoding, and tools that wait.

Three ways in turn: calls start as they are written; parallel decoding, then all calls; and what is usual, sequential
decoding and then one call after another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from bench_execute import ExecuteRow, row
from bench_questions import TOOL, weather_question

from grammars.conversation import Conversation
from grammars.dialects import dialect_of
from grammars.tools import Tool, ToolCall
from serving.decode.events import CallWritten, RoundEnded
from serving.decode.round import Decoder, RoundRequest
from serving.engines.base import Engine
from serving.execute.execute import CallFinished, ExecutionEvent, Executor
from serving.execute.facts import ToolFacts
from serving.execute.registry import Registry
from serving.execute.server_tool import ServerTool

CALLS = 8
TOOL_S = 0.3

Way = Literal["polycall", "decode, then execute", "sequential decoding, then a loop"]
WAYS: tuple[Way, ...] = ("polycall", "decode, then execute", "sequential decoding, then a loop")


@dataclass(frozen=True, kw_only=True)
class Round:
    """When a round began, when its calls were written and it was decoded, and when each call ran."""

    begin_s: float
    written_s: tuple[float, ...]
    decoded_s: float
    spans: tuple[tuple[float, float], ...]

    @property
    def total_s(self) -> float:
        return max(self.decoded_s, *(end_s for _, end_s in self.spans)) - self.begin_s

    @property
    def bound_s(self) -> float:
        """The least time with this decoding: every call begins when it is written."""
        return max(self.decoded_s, *(at_s + TOOL_S for at_s in self.written_s)) - self.begin_s

    @property
    def saving_s(self) -> float:
        """Summed decoding and summed execution less the time that their union covers."""
        summed_s = self.decoded_s - self.begin_s + sum(end_s - start_s for start_s, end_s in self.spans)
        return summed_s - covered_s([(self.begin_s, self.decoded_s), *self.spans])


def covered_s(spans: Sequence[tuple[float, float]]) -> float:
    """How long at least one of the spans lasts."""
    total_s, until_s = 0.0, float("-inf")
    for start_s, end_s in sorted(spans):
        total_s += max(0.0, end_s - max(start_s, until_s))
        until_s = max(until_s, end_s)
    return total_s


def overlap_rows(engine: Callable[[], Engine], repeats: int) -> list[ExecuteRow]:
    """The three ways, as one workload. `engine` gives the engine of a round, be it the same or one made anew."""
    return asyncio.run(_overlap_rows(engine, repeats))


async def _overlap_rows(engine: Callable[[], Engine], repeats: int) -> list[ExecuteRow]:
    rounds: dict[Way, list[Round]] = {way: [] for way in WAYS}
    for repeat in range(repeats + 1):
        for way in WAYS:
            decoding = engine()
            decoder = Decoder(decoding, dialect_of(decoding.tokenizer))
            found = await play(decoder, weather_question(decoding, CALLS), way)
            if repeat:  # the first is the warm-up
                rounds[way].append(found)
    await decoding.close()
    bound_s = median(one.bound_s for one in rounds["polycall"])
    return [
        row(
            f"{CALLS} x {TOOL_S:g} s, decoded by {decoding.model}",
            way,
            [one.total_s for one in played],
            bound_s,
            lost=max(CALLS - len(one.spans) for one in played),
            decode_s=round(median(one.decoded_s - one.begin_s for one in played), 4),
            first_call_s=round(median(min(one.spans)[0] - one.begin_s for one in played), 4),
            saving_s=round(median(one.saving_s for one in played), 4),
        )
        for way, played in rounds.items()
    ]


class Weather:
    """The tool, which waits."""

    async def run(self, arguments: object) -> str:
        await asyncio.sleep(TOOL_S)
        return "sunny"


def weather_registry(tool: Tool) -> Registry:
    registry = Registry()
    registry.add(ServerTool(tool=tool, facts=ToolFacts(read_only=True), runner=Weather()))
    return registry


async def play(decoder: Decoder, conversation: Conversation, way: Way) -> Round:
    """One round with its calls, one way."""
    ends: list[CallFinished] = []
    done = asyncio.Event()

    def hear(event: ExecutionEvent) -> None:
        if isinstance(event, CallFinished):
            ends.append(event)
            done.set()

    execution = Executor(weather_registry(TOOL)).begin(hear, in_call_order=way == "sequential decoding, then a loop")
    at_once: Callable[[ToolCall], None] | None = execution.start if way == "polycall" else None
    request = RoundRequest(decoding="sequential" if way == "sequential decoding, then a loop" else "parallel")
    begin_s, written_s, calls = time.monotonic(), list[float](), list[ToolCall]()
    async for event in decoder.decode_round(conversation, request):
        if isinstance(event, CallWritten):
            written_s.append(time.monotonic())
            calls.append(event.call)
            if at_once is not None:
                at_once(event.call)
        elif isinstance(event, RoundEnded):
            decoded_s = time.monotonic()
    if at_once is None:
        for call in calls:
            execution.start(call)
    execution.close_round()
    while execution.running:
        done.clear()
        await done.wait()
    spans = tuple((end.start_s, end.end_s) for end in ends)
    return Round(begin_s=begin_s, written_s=tuple(written_s), decoded_s=decoded_s, spans=spans)
