"""What happens while one round of a turn is decoded. Sequential and parallel decoding yield the same events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from grammars.tools import CallError, ToolCall
from serving.engines.base import TokenLogprob

FinishReason = Literal["calls", "text", "length"]


@dataclass(frozen=True, kw_only=True)
class TextWritten:
    """The model answers in text, and this is the next piece of it; `logprobs`, if they are asked for, of its tokens."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CallWritten:
    """One call is complete and valid, and may start at once.

    `index` is its place among the round's calls as they were planned; calls come in whatever order they end, and
    indices of dropped duplicates and failed calls stay unused.
    """

    index: int
    call: ToolCall


@dataclass(frozen=True, kw_only=True)
class CallFailed:
    """A planned call could not be written, after the sequential retry. Its siblings are not touched."""

    index: int
    tool: str
    error: CallError


@dataclass(frozen=True, kw_only=True)
class StreamSpan:
    """When one stream of the round decoded, for timelines. `label` says what it wrote.

    That is a plan, a text, calls, the decision for a text, or a call, whose tool it names, or one argument of a call,
    which it names after the tool.
    """

    label: str
    start_s: float
    end_s: float
    steps: int
    forced_tokens: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a round cost. `steps` counts decode steps on the critical path: the plan, the longest branch, retries.

    `tally_probability` is how likely the least likely digit of the plan's tally was, given the caller's bounds, whether
    or not the tally was trusted; None where no tally came to a plan that an outline could have taken the place of.
    `cached_tokens` are those of `prompt_tokens` that the engine still held from before; None where it does not know.
    """

    decoding: Literal["parallel", "sequential"]
    steps: int = 0
    plan_steps: int = 0
    tally_probability: float | None = None
    branches: int = 0
    fallbacks: int = 0
    duplicates_removed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    completion_tokens: int = 0
    spans: tuple[StreamSpan, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class RoundEnded:
    """The round is decoded; always the last event.

    `calls`: it made calls. `text`: it answered in text. `length`: text or calls were cut by a limit. `stop` is the
    caller's stop string that ended the text, if one did.
    """

    reason: FinishReason
    stop: str | None = None
    figures: Figures


DecodeEvent = TextWritten | CallWritten | CallFailed | RoundEnded
